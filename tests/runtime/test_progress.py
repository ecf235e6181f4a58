"""Progress of jobs whose steps have names, on a terminal and in a log."""

from __future__ import annotations

import sys

import pytest

from voxmood.commands.terminal.progress import Steps


def test_a_log_gets_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps(1000) as steps:
        for index in range(1000):
            steps.begin(f"step {index}")
    assert capsys.readouterr().err == "voxmood: step 0\n"


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Steps() as steps:
        steps.expect(2.0)
        steps.begin("half", 1.0)
        steps.begin("more than was expected", 3.0)
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in bar
    assert "more than was expected" in bar
