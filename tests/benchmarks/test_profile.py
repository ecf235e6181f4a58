"""Where the time goes: every node is counted once, under the part it is of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voxmood.cli import main
from voxmood_bench.engines.profiler import PARTS, REST, part_of, profile, read_events
from voxmood_export.clips import speech_like

pytestmark = pytest.mark.linux  # as `bench run` itself


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("/front_end/front_end.3/product/MatMul", "front end"),
        ("/front_end.3/product/MatMul", "front end"),
        ("/feature_encoder/feature_encoder.3/linear/MatMul", "front end"),
        ("/positional/product/MatMul", "positional conv"),
        ("/layers.11/attention_norm/LayerNormalization", "attention"),
        ("/layers.0/attention/out/MatMul", "attention"),
        ("/layers.0/Add", "attention"),
        ("/layers.0/Add_1", "feed-forward"),
        ("/layers.23/contract/MatMul", "feed-forward"),
        ("/layers.23/feed_forward_norm/LayerNormalization", "feed-forward"),
        ("/head/projector/MatMul", "rest"),
        ("/MatMul_7", "rest"),
    ],
)
def test_part_of(name: str, part: str) -> None:
    assert part_of(name) == part


def _event(name: str, ts: int, dur: int, operator: str | None = None) -> dict[str, object]:
    if operator is None:
        return {"cat": "Session", "name": name, "ts": ts, "dur": dur, "args": {}}
    arguments = {"op_name": operator, "input_type_shape": [{"float": [1, 2]}]}
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": arguments
    }  # fmt: skip


def test_settling_runs_are_left_out_and_nameless_nodes_join_their_neighbor() -> None:
    events = [
        _event("model_run", 0, 9000),
        _event("/layers.0/expand/MatMul", 10, 8000, "MatMul"),
        _event("model_run", 10000, 1500),
        _event("/layers.0/expand/MatMul", 10010, 1000, "MatMul"),
        _event("BiasGelu_token_3", 11010, 400, "BiasGelu"),
        _event("model_run", 20000, 2500),
        _event("/layers.0/expand/MatMul", 20010, 1400, "MatMul"),
        _event("BiasGelu_token_3", 21410, 600, "BiasGelu"),
    ]
    result = read_events(events, runs=2)
    assert result.milliseconds == pytest.approx(2.0)
    assert result.by(lambda node: node.operator) == pytest.approx({"MatMul": 1.2, "BiasGelu": 0.5})
    assert result.by(lambda node: node.part) == pytest.approx({"feed-forward": 1.7})
    assert result.nodes[0].shape == (1, 2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_parts_and_operators_add_up(bundle: Path, precision: str) -> None:
    result = profile(bundle, precision, speech_like(1.0, 16000, 0), threads=1, runs=2)
    total = sum(node.milliseconds for node in result.nodes)
    for key in ("part", "operator"):
        sums = result.by(lambda node, key=key: getattr(node, key))  # type: ignore[misc]
        assert sum(sums.values()) == pytest.approx(total)
    assert 0 < total < result.milliseconds
    parts = result.by(lambda node: node.part)
    assert set(parts) == {*PARTS, REST}
    if precision == "int8":
        matmuls = [node for node in result.nodes if "MatMulInteger" in node.operator]
        assert {node.part for node in matmuls} >= {"front end", "positional conv", "attention"}


def test_command(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "profile", f"{bundle}@int8", "--seconds", "1", "--threads", "1"]
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["version"], facts["precision"], facts["threads"]) == (1, "int8", 1)
    assert list(facts["parts"]) == [*PARTS, REST]
    everything = sum(facts["parts"].values()) + facts["between_nodes"]
    assert everything == pytest.approx(facts["milliseconds"], abs=0.01)
    assert sum(facts["operators"].values()) == pytest.approx(sum(facts["parts"].values()), abs=0.05)
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert all(part in text for part in PARTS)
    assert "avx2" in text or "asimd" in text
