"""Turns, ratios and noise; what time anything takes is no test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxmood_bench.engines.process import Runs
from voxmood_bench.errors import BenchmarkError
from voxmood_bench.measure import rounds as rounds_module
from voxmood_bench.measure.latency import SpeedRow, noise, ratio, settled, speed_cell, within
from voxmood_bench.measure.rounds import Turns, run_rounds

pytestmark = pytest.mark.linux  # as `bench run` itself

CLIP = Path("clip.npy")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_module, "PAUSE", 0.0)


class Fake:
    """Answers with the times it is given, and how busy others are; fails when it has no more."""

    def __init__(self, name: str, answers: list[tuple[float, float]], order: list[str]) -> None:
        self.name, self.answers, self.order = name, list(answers), order

    def run(self, audio: Path, least_seconds: float = 0.0, most_runs: int = 1) -> Runs:
        assert audio == CLIP
        self.order.append(self.name)
        if not self.answers:
            raise BenchmarkError("out of breath")
        seconds, others = self.answers.pop(0)
        return Runs([seconds], [0.0, 1.0], others)


def quiet(*seconds: float) -> list[tuple[float, float]]:
    return [(value, 0.0) for value in (9.0, 8.0, *seconds)]  # first call, warm-up, turns


def test_turns_rotate_and_a_failure_is_a_row() -> None:
    order: list[str] = []
    turns = Turns(
        {
            "a": Fake("a", quiet(0.1, 0.2, 0.4), order),
            "b": Fake("b", quiet(0.2, 0.2, 0.2), order),
            "c": Fake("c", quiet(0.3), order),
        },
        CLIP,
        "b",
    )
    rounds = list(turns.rounds(0, 3))
    assert "".join(order) == "aabbcc" + "abc" + "bca" + "ab"
    assert turns.first_ms == {"a": 9000, "b": 9000, "c": 9000}
    assert [dict(one) for one in rounds] == [
        {"a": [100], "b": [200], "c": [300]},
        {"a": [200], "b": [200]},
        {"a": [400], "b": [200]},
    ]
    assert turns.errors == {"c": "out of breath"}
    assert ratio(rounds, "a", "b")[0] == pytest.approx(1.0)  # of the medians 200 and 200


def test_an_engine_that_is_far_too_slow_is_out() -> None:
    order: list[str] = []
    workers = {
        "slow": Fake("slow", [(90.0, 0.0), (80.1, 0.0)], order),
        "b": Fake("b", quiet(0.2, 0.2), order),
    }
    turns = Turns(workers, CLIP, "b")
    assert [set(one) for one in turns.rounds(0, 2)] == [{"b"}, {"b"}]
    assert "80.1 s" in turns.errors["slow"]
    assert "8.0 s" in turns.errors["slow"]


def test_a_disturbed_turn_is_taken_again() -> None:
    order: list[str] = []
    busy = [(9.0, 0.0), (8.0, 0.0), (0.5, 0.9), (0.3, 0.05), (0.6, 0.5), (0.5, 0.4), (0.7, 0.6)]
    turns = Turns({"a": Fake("a", busy, order)}, CLIP, "a")
    assert [one["a"] for one in turns.rounds(0, 2)] == [[300], [500]]
    assert turns.others == [0.05, 0.4]
    assert len(order) == 2 + 2 + rounds_module.TRIES


def rounds_of(**engines: list[float]) -> list[dict[str, list[float]]]:
    count = len(next(iter(engines.values())))
    return [{name: [values[index]] for name, values in engines.items()} for index in range(count)]


def test_statistics_are_numpys() -> None:
    values = np.random.default_rng(0).gamma(4, 5, 21)
    rounds = [{"a": list(values[:20])}, {"a": [values[20]]}]
    row = SpeedRow(1, 5.0, rounds=rounds, others=[0.0, 0.3], first_ms={"a": 99.0})
    cell = speed_cell(row, main="a", reference="a")
    found = cell.engines["a"]
    assert found.p95_ms == pytest.approx(np.percentile(values, 95))
    assert found.median_ms == pytest.approx((np.median(values[:20]) + values[20]) / 2)
    assert found.runs == 21
    assert (cell.others, cell.disturbed) == (0.15, 0.5)


def test_interval_holds_the_ratio_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        load = random.gamma(4, 0.25, 20)  # meets both, and cancels only in part
        a, b = (scale * load * random.gamma(400, 1 / 400, 20) for scale in (100, 200))
        _, low, high = ratio(rounds_of(a=list(a), b=list(b)), "a", "b")
        held += low <= 0.5 <= high
    assert held >= 88


def test_noise_is_that_of_two_copies() -> None:
    random = np.random.default_rng(0)
    rounds = rounds_of(
        engine=list(random.normal(100, 5, 30)),
        copy=list(random.normal(100, 5, 30)),
        faster=list(random.normal(50, 2, 30)),
    )
    found = noise(rounds, "engine", "copy")
    assert 0.005 < found < 0.08
    assert within(*ratio(rounds, "engine", "copy"), found)
    assert not within(*ratio(rounds, "faster", "engine"), found)
    assert within(1.01, 1.005, 1.015, 0.02)  # surely not 1, but no further than the noise goes


def test_rounds_go_on_until_ratios_are_narrow() -> None:
    random = np.random.default_rng(0)
    kept: list[int] = []

    def run(spread: float, most: int, seconds: float = 60) -> SpeedRow:
        order: list[str] = []
        times = {name: random.normal(1, spread, 100) for name in "ab"}
        workers = {name: Fake(name, quiet(*each), order) for name, each in times.items()}
        turns = Turns(workers, CLIP, "b")
        row = SpeedRow(1, 5.0)
        run_rounds(
            turns, row, rounds=5, most_rounds=most, seconds=seconds, reference="b",
            keep=lambda row: kept.append(len(row.rounds)),
        )  # fmt: skip
        assert len(row.others) == 2 * len(row.rounds)
        return row

    assert len(run(0.001, 30).rounds) == 5
    assert kept == [1, 2, 3, 4, 5]
    row = run(0.06, 60)
    assert 5 < len(row.rounds) < 60
    assert settled(row.rounds, "b")
    assert len(run(0.5, 8).rounds) == 8
    assert len(run(0.5, 8, seconds=0).rounds) == 5


def test_a_reference_that_fails_ends_the_run() -> None:
    order: list[str] = []
    turns = Turns(
        {"b": Fake("b", quiet(0.1), order), "a": Fake("a", quiet(0.1, 0.1), order)}, CLIP, "b"
    )
    with pytest.raises(BenchmarkError, match="out of breath"):
        run_rounds(
            turns, SpeedRow(1, 5.0), rounds=3, most_rounds=3, seconds=60, reference="b",
            keep=lambda row: None,
        )  # fmt: skip
