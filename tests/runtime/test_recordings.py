"""Which recordings are found and listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxmood import AudioError, ManifestError, MissingFileError
from voxmood.audio.listing import Recording, find_recordings, read_manifest


def test_recordings_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.WAV", "a/z.flac", "a/c.m4a", "notes.txt", "._b.WAV", "folder.wav/x.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "gone.ogg").symlink_to("nowhere")
    names = [recording.name for recording in find_recordings(tmp_path)]
    assert names == ["a/c.m4a", "a/z.flac", "b.WAV", "folder.wav/x.mp3", "gone.ogg"]


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="holds no recordings"):
        find_recordings(tmp_path)
    with pytest.raises(MissingFileError, match="no such folder"):
        find_recordings(tmp_path / "gone")


def test_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        '\ufefflabel,path,speaker,note\nhap,"b, c.wav",7,"two\nlines"\nsad,a/ä.wav,8,\n',
        encoding="utf-8",
    )
    folder = Path("corpus")
    more = [
        {"label": "hap", "speaker": "7", "note": "two\nlines"},
        {"label": "sad", "speaker": "8", "note": ""},
    ]
    assert read_manifest(manifest, folder) == [
        Recording("b, c.wav", folder / "b, c.wav", "hap", "7", more[0], f"{manifest}, line 3"),
        Recording("a/ä.wav", folder / "a" / "ä.wav", "sad", "8", more[1], f"{manifest}, line 4"),
    ]
    manifest.write_text("path\na.wav\n")
    assert read_manifest(manifest, folder) == [
        Recording("a.wav", folder / "a.wav", listed=f"{manifest}, line 2")
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column `path`"),
        (b"path;label\na.wav;hap\n", "separated by commas, and is 'path;label'"),
        (b"path,label\n", "lists no recordings"),
        (b"path,label\na.wav,hap\nb.wav\n", "line 3 does not have a cell"),
        (b"path,label\na,b.wav,hap\n", "line 2 does not have a cell"),
        (b"path,label\n,hap\n", "line 2 does not have a cell"),
        (b"path,label,label\na.wav,hap,sad\n", "has 2 columns called 'label'"),
        (b"path,path\na.wav,b.wav\n", "has 2 columns called 'path'"),
        (b"path\na.wav\nb.wav\na.wav\n", "line 4 lists a.wav a second time"),
        (b"path\n\xff.wav\n", "not a CSV file in UTF-8"),
        (b'path\n"a.wav', "not a CSV file in UTF-8"),
        (b"path\n" + 200000 * b"a", "not a CSV file in UTF-8"),
    ],
)
def test_bad_manifests(tmp_path: Path, content: bytes, message: str) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(manifest, tmp_path)
    with pytest.raises(MissingFileError):
        read_manifest(tmp_path / "gone.csv", tmp_path)
