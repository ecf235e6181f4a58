"""Which precision `auto` takes on a CPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import voxmood
from voxmood.bundle.description import Bundle, Precision, read_bundle
from voxmood.cli import main
from voxmood.engine import precision

CPU = "CPUExecutionProvider"


def measured(bundle: Path, int8: Mapping[str, Any], fp32: Mapping[str, Any]) -> Bundle:
    """Return the description of a bundle with other measurements."""
    description = read_bundle(bundle)
    entries = {
        name: Precision(description.precisions[name].files, facts)
        for name, facts in (("fp32", fp32), ("int8", int8))
    }
    return replace(description, precisions=entries)


def time(factor: float, **more: Any) -> dict[str, Any]:
    return {"real_time_factor": factor, **more}


@pytest.mark.parametrize(
    ("int8", "fp32", "saturate", "share", "taken"),
    [
        (time(0.04), time(0.1), False, 0.4, "int8"),
        (time(0.04), time(0.1), True, 0.68, "int8"),
        (time(0.07), time(0.1), False, 0.7, "int8"),
        (time(0.07), time(0.1), True, 1.19, "fp32"),  # measured where products do not saturate
        (time(0.07, seven_bits=True), time(0.1), True, 0.98, "int8"),
        (time(0.07, products_saturate=True), time(0.1), True, 0.7, "int8"),
        (time(0.12), time(0.1), False, 1.2, "fp32"),
        (time(0.09, weight_only=True), time(0.1), False, 1.0, "fp32"),
        ({}, time(0.1), True, None, "int8"),
        (time(0.04), {}, True, None, "int8"),
        (time(0.04), time(0.0), True, None, "int8"),
        ({"real_time_factor": "fast"}, time(0.1), True, None, "int8"),
    ],
)
def test_auto_takes_the_faster_of_int8_and_fp32(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    int8: Mapping[str, Any],
    fp32: Mapping[str, Any],
    saturate: bool,
    share: float | None,
    taken: str,
) -> None:
    monkeypatch.setattr(precision, "products_saturate", lambda: saturate)
    description = measured(bundle, int8, fp32)
    assert precision.int8_share(description) == (share and pytest.approx(share))
    assert precision.choose_precision(description, "auto", CPU) == taken
    assert precision.choose_precision(description, "int8", CPU) == "int8"
    assert precision.choose_precision(description, "auto", "CoreMLExecutionProvider") == "fp32"


def test_the_model_that_ships_runs_in_fp32(capsys: pytest.CaptureFixture[str]) -> None:
    """Show it for int8 that has weights of 8 bits and computes in float."""
    if set(voxmood.load().bundle.precisions) == {"int8"}:
        pytest.skip("the wheel holds int8 alone")
    assert voxmood.load().precision == "fp32"
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["int8_share"], facts["loaded"]["precision"]) == (1.0, "fp32")
    assert main(["info"]) == 0
    assert "takes about 1.00 of fp32's time on this CPU, so it gains nothing" in (
        capsys.readouterr().out
    )
