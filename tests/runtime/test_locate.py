"""What the name of a bundle means, to Python and to every command alike."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import voxmood
from voxmood import BundleError, MissingFileError
from voxmood.bundle.hub import Repository
from voxmood.bundle.locate import locate, shipped_bundle
from voxmood.cli import main

HELLO = Path(__file__).parents[2] / "runtime" / "examples" / "hello.wav"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with bundles whose names could be other things."""
    for name in ("bundle", "models/tiny", "odd@int8", "a@b/c"):
        shutil.copytree(shipped_bundle(), tmp_path / name)
    (tmp_path / "someone").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder", "precision"),
    [
        ("bundle", "bundle", "fp32"),
        ("bundle@int8", "bundle", "int8"),
        ("bundle@fp32", "bundle", "fp32"),
        ("./bundle@fp32", "bundle", "fp32"),
        ("models/../bundle/@fp32", "bundle", "fp32"),
        (Path("bundle@fp32"), "bundle", "fp32"),
        ("models/tiny@fp32", "models/tiny", "fp32"),
        ("odd@int8", "odd@int8", "fp32"),  # the folder
        ("odd@int8@fp32", "odd@int8", "fp32"),
        ("a@b/c@fp32", "a@b/c", "fp32"),
        ("voxmood-small", None, "fp32"),
        ("voxmood-small@int8", None, "int8"),
        ("voxmood-small@fp32", None, "fp32"),
        (None, None, "fp32"),
    ],
)
def test_a_name_means_the_same_everywhere(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    name: str | Path | None,
    folder: str | None,
    precision: str,
) -> None:
    expected = (here / folder if folder else shipped_bundle()).resolve()
    place = locate(name).place
    assert isinstance(place, Path)
    assert place.resolve() == expected
    assert voxmood.load(name).precision == precision
    assert voxmood.load(name, precision=precision).precision == precision
    given = [str(name)] if name else []
    assert main(["info", "--json", *given]) == 0
    assert json.loads(capsys.readouterr().out)["loaded"]["precision"] == precision
    model = ["--model", *given] if given else []
    clip = here / "clip.wav"
    soundfile.write(clip, np.random.default_rng(0).normal(0, 0.1, 4000), 16000)
    assert main(["predict", str(clip), "--json", *model]) == 0
    row = json.loads(capsys.readouterr().out)
    said = voxmood.load(expected, precision=precision).predict(clip)
    assert row["probabilities"] == pytest.approx(said.probabilities, abs=1e-6)


def test_compare_resolves_names_alike(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--audio", str(HELLO.parent), "--json"]
    assert main(["compare", "voxmood-small@fp32", "bundle@int8", *folder]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["reference"], report["candidate"]) == ("voxmood-small@fp32", "bundle@int8")
    shipped = str(shipped_bundle())
    assert main(["compare", "voxmood-small@int8", f"{shipped}@int8", *folder]) == 1
    assert "compared with itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("bundle@int4", BundleError, "has no precision int4; there are fp32, int8."),
        ("voxmood-small@int4", BundleError, "has no precision int4; there are fp32, int8."),
        ("bundel", MissingFileError, "bundel: no such bundle."),
        ("bundel@int8", MissingFileError, "bundel: no such bundle."),
        ("./bundel", MissingFileError, "./bundel: no such bundle."),
        ("./someone/model", MissingFileError, "./someone/model: no such bundle."),
        ("/someone/model", MissingFileError, "/someone/model: no such bundle."),
        ("~/bundle", MissingFileError, "Only a shell replaces `~` with the home"),
        ("https://host/bundle", MissingFileError, "It is a URL; download it first."),
        ("models/bundel", MissingFileError, "no such bundle in the folder models; because that"),
        ("models/bundel@int8", MissingFileError, "no such bundle in the folder models"),
        ("someone/model", MissingFileError, "no such bundle in the folder someone"),
        ("bundle/model.int8.onnx", MissingFileError, "is a file, but a bundle is a folder"),
        ("file", MissingFileError, "is a file, but a bundle is a folder"),
        ("", MissingFileError, "the name of a bundle is empty"),
        (Path("someone/other"), MissingFileError, "no such bundle."),
    ],
)
def test_names_of_nothing(
    here: Path,
    name: str | Path,
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fetch(self: Repository, files: object) -> Path:
        raise AssertionError("a hub was asked")

    monkeypatch.setattr(Repository, "fetch", fetch)
    with pytest.raises(error) as caught:
        voxmood.load(name)
    assert message in str(caught.value)
    if name:
        assert main(["predict", str(HELLO), "--model", str(name)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
        assert main(["compare", str(name), "bundle", "--audio", str(HELLO.parent)]) == 1


@pytest.mark.parametrize(
    ("name", "repository", "revision", "precision"),
    [
        ("other/model", "other/model", None, "auto"),
        ("other/model@int8", "other/model", None, "int8"),
        ("other/model@v1", "other/model", "v1", "auto"),
        ("other/model@v1@fp32", "other/model", "v1", "fp32"),
        ("other/model@refs/pr/1", "other/model", "refs/pr/1", "auto"),
    ],
)
def test_names_of_a_hub(
    here: Path, name: str, repository: str, revision: str | None, precision: str
) -> None:
    found = locate(name)
    assert isinstance(found.place, Repository)
    assert (found.place.name, found.place.revision) == (repository, revision)
    assert found.precision == precision


def test_what_is_neither_here_nor_on_a_hub_says_both(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(voxmood.MissingExtraError, match="no such folder; to fetch it from a hub"):
        voxmood.load("other/model")


@pytest.mark.parametrize("name", ["bundle@int8", "voxmood-small@int8", "other/model@int8"])
def test_two_precisions_contradict_each_other(here: Path, name: str) -> None:
    with pytest.raises(BundleError, match="names the precision int8, but fp32 is asked for"):
        voxmood.load(name, precision="fp32")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", ""],
        ["predict", str(HELLO), ""],
        ["predict", str(HELLO), "--model", ""],
        ["timeline", ""],
        ["timeline", str(HELLO), "--model="],
        ["timeline", str(HELLO), "--plot", ""],
        ["listen", "--model", ""],
        ["info", ""],
        ["batch", "", "--output", "out.csv"],
        ["batch", str(HELLO), "", "--output", "out.csv"],
        ["batch", str(HELLO), "--output", ""],
        ["batch", str(HELLO), "--output", "out.csv", "--model", ""],
        ["compare", "", "bundle", "--audio", "."],
        ["compare", "bundle", "", "--audio", "."],
        ["compare", "bundle@fp32", "bundle@int8", "--audio", ""],
        ["compare", "bundle@fp32", "bundle@int8", "--audio", ".", "--manifest", ""],
        ["compare", "bundle@fp32", "bundle@int8", "--audio", ".", "--junit", ""],
        ["compare", "bundle@fp32", "bundle@int8", "--audio", ".", "--markdown="],
        ["bench", "profile", ""],
    ],
)
def test_an_empty_name_is_wrong_usage(
    here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert "the name is empty" in captured.err
    assert captured.out == ""
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("given", [{"audio": ""}, {"manifest": ""}, {"audio": ".", "manifest": ""}])
def test_an_empty_name_in_python(here: Path, given: dict[str, Any]) -> None:
    with pytest.raises(MissingFileError, match="the name is empty"):
        voxmood.compare("bundle@fp32", "bundle@int8", **given)
