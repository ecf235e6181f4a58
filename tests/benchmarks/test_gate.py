"""The gate on reports: what passes, what fails, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from voxmood.bundle.description import read_bundle
from voxmood.cli import main
from voxmood_bench.engines.lineup import BASELINES, lineup
from voxmood_bench.report.gate import read_bounds

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
REPORT = RESULTS / "voxmood-small-zen5.json"
INT8, REFERENCE = "voxmood int8", "PyTorch float32"


@pytest.fixture
def report() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(REPORT.read_text(encoding="utf-8"))
    return content


def write(report: dict[str, Any], path: Path) -> str:
    path.write_text(json.dumps(report))
    return str(path)


def cell_of(report: dict[str, Any]) -> dict[str, Any]:
    where = report["headline"]
    return next(
        cell
        for cell in report["speed"]
        if (cell["seconds"], cell["threads"]) == (where["seconds"], where["threads"])
    )


@pytest.mark.parametrize(
    ("option", "kept", "missed"),
    [
        ("--max-time", "0.9", "0.01"),
        ("--max-memory", "0.9", "0.01"),
        ("--min-agreement", "0.5", "1.0"),
        ("--max-drift", "1.0", "1e-9"),
        ("--min-sqnr", "1", "200"),
    ],
)
def test_every_bound_can_be_missed(
    option: str, kept: str, missed: str, report: dict[str, Any], tmp_path: Path
) -> None:
    next(row for row in report["accuracy"] if row["engine"] == INT8)["agreement"] = 0.99
    new = write(report, tmp_path / "new.json")
    assert main(["bench", "gate", new, option, kept]) == 0
    assert main(["bench", "gate", new, option, missed]) == 1


def test_a_slower_machine_does_not_matter_but_a_slower_model_does(
    report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(report, tmp_path / "old.json")
    busy = copy.deepcopy(report)
    for facts in cell_of(busy)["engines"].values():
        facts["median_ms"] *= 3  # of every engine alike, so that the ratios stay
    assert main(["bench", "gate", write(busy, tmp_path / "busy.json"), "--baseline", old]) == 0
    slower = copy.deepcopy(report)
    cell_of(slower)["engines"][INT8]["of_reference"]["ratio"] *= 1.2
    new = write(slower, tmp_path / "new.json")
    files = {name: tmp_path / f"gate.{name}" for name in ("junit", "markdown")}
    arguments = ["bench", "gate", new, "--baseline", old]
    capsys.readouterr()
    assert main([*arguments, *(f"--{name}={path}" for name, path in files.items())]) == 1
    assert "FAILED: time against the baseline 1.2, must be at most 1.1" in capsys.readouterr().out
    failures = ElementTree.parse(files["junit"]).getroot().iter("failure")
    assert len(list(failures)) == 1
    assert "FAILED" in files["markdown"].read_text()
    assert main([*arguments, "--max-growth", "1.25"]) == 0


def test_without_a_bound_nothing_was_checked(report: dict[str, Any], tmp_path: Path) -> None:
    assert main(["bench", "gate", write(report, tmp_path / "new.json")]) == 1


def test_bounds_of_a_file(
    report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, bounds = write(report, tmp_path / "new.json"), tmp_path / "bounds.toml"
    cell = cell_of(report)["engines"]
    exact = cell[INT8]["median_ms"] / cell[REFERENCE]["median_ms"]
    arguments = ["bench", "gate", new, "--bounds", str(bounds), "--json"]
    bounds.write_text(f'[time]\n"{INT8} / {REFERENCE}" = {exact * 1.001}\n')
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)["measures"][f"{INT8} / {REFERENCE}"]
    assert found["value"] == pytest.approx(exact)
    bounds.write_text(f'[time]\n"{INT8} / {REFERENCE}" = {exact * 0.999}\n')
    assert main(arguments) == 1
    bounds.write_text(f'[time]\n"{INT8} at 10 s / {INT8} at 5 s" = 9\n')
    assert main(arguments) == 0
    for absent in (f"{INT8} / a slide rule", f"{INT8} at 77 s / {INT8}"):
        bounds.write_text(f'[time]\n"{absent}" = 9\n')
        assert main(arguments) == 1  # what was not measured keeps no bound
    for wrong in ("[time", "[speed]\na = 1", f'[time]\n"{INT8}" = 1', '[time]\n"a / b" = "x"'):
        bounds.write_text(wrong)
        capsys.readouterr()
        assert main(arguments) == 1
        assert "bounds.toml" in capsys.readouterr().err


def test_limits_of_the_project_name_engines_that_there_are(bundle: Path) -> None:
    limits = read_bounds(RESULTS.parent / "limits-amx.toml")
    engines = lineup(read_bundle(bundle), ["cpu"], list(BASELINES))
    for side in (side for pair in limits for side in pair.split(" / ")):
        assert side.partition(" at ")[0] in engines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bundle": "another"}, "of another bundle"),
        ({"headline": {"seconds": 2.0, "threads": 2}}, "of another headline"),
        ({"version": 99}, "of version 99, this release reads 1"),
    ],
)
def test_a_baseline_that_cannot_be_compared_is_refused(
    change: dict[str, Any], message: str, report: dict[str, Any], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    new = write(report, tmp_path / "new.json")
    old = write(report | change, tmp_path / "old.json")
    assert main(["bench", "gate", new, "--baseline", old]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "is not a report of"),
        ("{}", "is not a report of"),
        ('{"version": 1, "speed": []}', "is a damaged report"),
    ],
)
def test_a_file_that_is_no_report(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.json").write_text(content)
    assert main(["bench", "gate", str(tmp_path / "new.json"), "--max-time", "1"]) == 1
    assert message in capsys.readouterr().err
    assert main(["bench", "gate", str(tmp_path / "gone.json")]) == 1
    assert "gone.json: no such file" in capsys.readouterr().err


def test_an_engine_that_is_not_there(
    report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = write(report, tmp_path / "new.json")
    assert main(["bench", "gate", new, "--engine", "voxmood int3", "--max-time", "1"]) == 1
    assert "no engine 'voxmood int3'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
@pytest.mark.parametrize("name", ["new.json", "old.json", "bounds.toml", "link.json"])
def test_no_report_is_written_to_what_is_read(
    option: str, name: str, report: dict[str, Any], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    new, old = (write(report, tmp_path / f"{which}.json") for which in ("new", "old"))
    bounds = tmp_path / "bounds.toml"
    bounds.write_text(f'[time]\n"{INT8} / {REFERENCE}" = 0.9\n')
    (tmp_path / "link.json").symlink_to("new.json")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = ["bench", "gate", new, "--baseline", old, "--bounds", str(bounds)]
    assert main([*arguments, option, str(tmp_path / name)]) == 1
    assert f"{name}: is also an input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
