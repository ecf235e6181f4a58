"""An output that is also an input is found under every name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from voxmood.errors import OutputError
from voxmood.files import check_output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with files and folders and other names of them."""
    for folder in ("in/deep", "beside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "in/list.csv").write_text("path\n")
    (tmp_path / "other.csv").touch()
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "link.csv").symlink_to("in/list.csv")
    (tmp_path / "deep").symlink_to("in/deep")
    (tmp_path / "loop").symlink_to("loop")
    os.link(tmp_path / "in/list.csv", tmp_path / "hard.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.posix
@pytest.mark.parametrize(
    ("output", "source"),
    [
        ("in/list.csv", "in/list.csv"),
        ("./in//list.csv", "in/list.csv"),
        ("beside/../in/list.csv", "in/list.csv"),
        ("deep/../list.csv", "in/list.csv"),  # in/deep/.. and not the current folder
        ("link.csv", "in/list.csv"),
        ("in/list.csv", "link.csv"),
        ("link/list.csv", "in/list.csv"),
        ("hard.csv", "in/list.csv"),
        ("link/new.csv", "in/new.csv"),  # neither exists
        ("in", "link"),
        (".", ""),
        ("loop", "loop"),
    ],
)
def test_an_input_is_found_under_every_name(here: Path, output: str, source: str) -> None:
    (here.parent / "other.csv").touch()
    for inputs in ([Path(source)], [here.parent / "other.csv", here / source]):
        with pytest.raises(OutputError, match="is also an input") as caught:
            check_output(Path(output), inputs)
        assert str(caught.value).startswith(f"{Path(output)}: ")
        assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    ("output", "source"),
    [("in", "in/deep"), ("link", "in/gone/a.wav"), ("in", "deep"), (".", "in/list.csv")],
)
def test_an_output_folder_holds_no_input(here: Path, output: str, source: str) -> None:
    with pytest.raises(OutputError, match="lies inside it"):
        check_output(Path(output), [Path(source)])


@pytest.mark.parametrize(
    ("output", "source"), [("in/new.csv", "in"), ("link/deep/new", "in"), ("deep/new", "in")]
)
def test_an_input_folder_covers_what_lies_inside_where_asked(
    here: Path, output: str, source: str
) -> None:
    check_output(Path(output), [Path(source)])
    with pytest.raises(OutputError, match="lies inside an input"):
        check_output(Path(output), [Path(source)], inside=True)


@pytest.mark.posix
@pytest.mark.parametrize(
    ("output", "source"),
    [
        ("other.csv", "in/list.csv"),
        ("new.csv", "in"),
        ("in2", "in"),  # begins with the same letters
        ("deep/../other", "other"),  # in/other
        ("loop", "in"),
        ("/dev/null", "/dev/null"),
        ("n" * 300, "in"),  # longer than any name may be
    ],
)
def test_other_files_are_no_inputs(here: Path, output: str, source: str) -> None:
    check_output(Path(output), [Path(source)], inside=True)
