"""`--force` replaces bundles and nothing else; a source is never an output."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from variations import first_of

import voxmood
from voxmood import OutputError
from voxmood.cli import main
from voxmood_export import ExportError, OutputExistsError, VerificationError, export_bundle, output
from voxmood_export.output import whole_or_not_at_all


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """Return all that is in a folder: links by their targets, files by their bytes."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def place(checkpoint: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a checkpoint, bundles, recordings and other names of them."""
    shutil.copytree(checkpoint, tmp_path / "model")
    shutil.copytree(checkpoint, tmp_path / "deep/er/model")
    for name in ("bundle", "full", "damaged", "nested"):
        shutil.copytree(bundle, tmp_path / name)
    (tmp_path / "full/notes.txt").write_text("mine")
    (tmp_path / "damaged/bundle.json").write_text("{}")
    (tmp_path / "nested/model.fp16.onnx").mkdir()
    (tmp_path / "nested/model.fp16.onnx/mine").touch()
    (tmp_path / "bundle-with-audio").mkdir()
    for name in ("empty", "thesis", "audio", "bundle-with-audio/audio"):
        (tmp_path / name).mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("years of work")
    for name in ("audio", "bundle-with-audio/audio"):
        soundfile.write(tmp_path / name / "a.wav", np.zeros(16000), 16000)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("model")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "er").symlink_to("deep/er")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: Any) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("voxmood_export.export.load_checkpoint", work)


REFUSED = [  # arguments of `voxmood export`, what is said
    (["model", "model"], "model: is also an input (model)"),
    (["model", "./model/"], "is also an input"),
    (["model", "deep/../model"], "is also an input"),
    (["deep/er/model", "er/../er/model"], "is also an input"),
    (["model", "link"], "is also an input"),
    (["link", "model"], "is also an input"),
    (["./model", "{here}/model"], "is also an input"),
    (["deep/er/model", "deep"], "an input (deep/er/model) lies inside it"),
    (["deep/er/model", "er"], "lies inside it"),
    (["deep/er/model", "."], "is the current folder"),
    (["model", ".."], "lies inside it"),
    (["model", "{here}"], "is the current folder"),
    (["model", "thesis"], "holds 'thesis.tex', which does not belong to a bundle"),
    (["model", "empty"], "is not a bundle"),
    (["model", "full"], "holds 'notes.txt', which does not belong to a bundle"),
    (["model", "damaged"], "is not a bundle"),
    (["model", "nested"], "holds 'model.fp16.onnx'"),
    (["model", "file"], "is not a folder"),
    (["model", "dangling"], "is not a folder"),
    (["model", "loop"], "is not a folder"),
    (["model", "/dev/null"], "is not a folder"),
    (["model", "file/bundle"], "is not a folder"),
    (["model", "file/a/b/bundle"], "is not a folder"),
    (["model", "n" * 300], "cannot be written"),
    (["model", "bundle", "--audio", "bundle"], "is also an input (bundle)"),
    (["model", "bundle-with-audio", "--audio", "bundle-with-audio/audio"], "lies inside it"),
    (["model", "new", "--json", "model/config.json"], "lies inside an input"),
    (["model", "new", "--json", "link/README.md"], "lies inside an input"),
    (["model", "new", "--json", "bundle/../new/report.json"], "belongs to the bundle new"),
    (["model", "new", "--json", "new"], "belongs to the bundle new"),
    (["model", "bundle", "--json", "bundle/bundle.json"], "belongs to the bundle bundle"),
    (["model", "new", "--audio", "audio", "--json", "audio/a.wav"], "is also an input"),
    (["model", "new", "--json", "thesis"], "is a folder"),
    (["model", "new", "--json", "file/report.json"], "is not a folder"),
]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_nothing_but_a_bundle_is_replaced(
    place: Path,
    arguments: list[str],
    message: str,
    force: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(place)
    command = [argument.format(here=place) for argument in arguments]
    if force:
        command.append("--force")
    assert main(["export", *command]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("voxmood: ")
    assert message in said
    assert contents(place) == before


@pytest.mark.posix
@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("arguments", "force"),
    [
        (["model", "new"], False),
        (["model", "new/and/deep"], False),
        (["model", "model2"], False),
        (["model", "model/new"], False),
        (["model", "link/a/b"], False),
        (["model", "bundle"], True),
        (["someone/model", "bundle"], True),
        (["model", "new", "--audio", "."], False),  # the output may lie among the recordings
        (["model", "new", "--audio", "audio", "--json", "audio/report.json"], False),
        (["model", "new", "--json", "/dev/null"], False),
        (["model", "new", "--json", "reports/report.json"], False),
    ],
)
def test_what_destroys_nothing_goes_on(place: Path, arguments: list[str], force: bool) -> None:
    with pytest.raises(AssertionError, match="work was done"):
        main(["export", *arguments, *(["--force"] if force else [])])


@pytest.mark.parametrize("arguments", [["", "new"], ["model", ""], ["model", "new", "--json", ""]])
def test_empty_names(place: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", *arguments])
    assert "the name is empty" in capsys.readouterr().err


@pytest.mark.posix
def test_a_folder_that_may_not_be_written_to(place: Path) -> None:
    place.chmod(0o777)
    locked = place / "locked"
    locked.mkdir(mode=0o555)
    program = (
        "import sys; from pathlib import Path; from voxmood_export.output import *\n"
        "check_bundle_output(Path(sys.argv[1]), 'model', None, force=False)"
    )
    command = [sys.executable, "-c", program, str(locked / "new")]
    if os.geteuid() == 0:  # whom no permissions hold back
        command = ["setpriv", "--bounding-set", "-dac_override", *command]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert "OutputError" in done.stderr.splitlines()[-1]
    assert "is not writable" in done.stderr


def test_the_old_bundle_comes_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(place)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if Path(target).name == "bundle" and self.name == "bundle":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with (
        pytest.raises(ExportError, match=r"Input/output error.*nothing was written"),
        whole_or_not_at_all(Path("bundle"), force=True) as folder,
    ):
        (folder / "bundle.json").write_text("new")
    assert contents(place) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a defect")])
def test_any_end_leaves_the_old_bundle(place: Path, error: BaseException) -> None:
    def interrupted() -> None:
        with whole_or_not_at_all(Path("bundle"), force=True) as folder:
            (folder / "bundle.json").write_text("new")
            raise error

    before = contents(place)
    with pytest.raises(type(error)):
        interrupted()
    assert contents(place) == before


@pytest.mark.parametrize("force", [True, False])
def test_what_was_made_meanwhile_stays(place: Path, force: bool) -> None:
    with (
        pytest.raises(OutputExistsError, match=r"new: already exists"),
        whole_or_not_at_all(Path("new"), force=force),
    ):
        shutil.copytree("thesis", "new")
    assert contents(place / "new") == contents(place / "thesis")
    assert not list(place.glob(".voxmood*"))


def test_a_link_to_a_bundle_stays_a_link(place: Path) -> None:
    Path("current").symlink_to("bundle")
    with whole_or_not_at_all(Path("current"), force=True) as folder:
        (folder / "bundle.json").write_text("new")
    assert Path("current").readlink() == Path("bundle")
    assert contents(place / "bundle") == {"bundle.json": b"new"}


def test_errors_show_no_temporary_path(place: Path) -> None:
    with (
        pytest.raises(voxmood.BundleError) as caught,
        whole_or_not_at_all(Path("new"), force=False) as folder,
    ):
        raise voxmood.BundleError(f"{folder / 'bundle.json'}: is odd.")
    assert str(caught.value) == "new/bundle.json: is odd."


def test_logits_beyond_float16_are_an_error_of_the_export(place: Path) -> None:
    weights = place / "model/model.safetensors"
    state = load_file(weights)
    state["wav2vec2.encoder.layers.0.feed_forward.output_dense.weight"] *= 1e7
    save_file({name: tensor.to(torch.float32) for name, tensor in state.items()}, weights)
    with pytest.raises(VerificationError, match=r"fp16: the runtime refuses.*not finite") as caught:
        export_bundle("model", Path("new"), precisions=["fp16"])
    assert ".voxmood" not in str(caught.value)
    assert not Path("new").exists()


def test_a_bundle_in_use_stays_where_the_system_refuses_to_move_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows does so while a program has mapped the weights."""
    before = contents(place)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "bundle" and self.parent == place:
            raise PermissionError(13, "Access is denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with (
        pytest.raises(OutputError, match=r"cannot be replaced.*close every program"),
        whole_or_not_at_all(Path("bundle"), force=True) as folder,
    ):
        (folder / "bundle.json").write_text("new")
    assert contents(place) == before


@pytest.mark.linux
@pytest.mark.parametrize("force", first_of([True, False]))
def test_no_file_is_open_or_mapped_when_the_bundle_is_moved(
    place: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """Windows moves no folder of which a file is open."""
    replace = output._replace
    held: list[str] = []

    def look(target: Path, folder: Path, old: Path) -> None:
        links = [
            str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()
        ]
        maps = Path("/proc/self/maps").read_text("utf-8").splitlines()
        held.extend(each for each in (*links, *maps) if str(folder.parent) in each)
        assert list(folder.iterdir())
        replace(target, folder, old)

    monkeypatch.setattr(output, "_replace", look)
    export_bundle("model", "bundle" if force else "new", force=force)
    assert held == []


def test_a_place_on_a_drive_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, nothing above such a place exists."""
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with pytest.raises(OutputError, match="its drive does not exist"):
        output._check_parents(Path("folder/bundle"))
