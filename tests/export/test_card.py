"""The license on a model card, and cards that are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxmood.bundle.description import read_bundle
from voxmood_export import export_bundle
from voxmood_export.checkpoint.card import MAX_TEXT_BYTES, read_license, read_license_text
from voxmood_export.checkpoint.files import CheckpointFiles


@pytest.mark.parametrize(
    ("card", "license_name"),
    [
        (b"---\nlicense: mit\n---\nText.\n", "mit"),
        (b"---\r\nlicense: mit\r\n---\r\nText.\r\n", "mit"),
        (b"\n---\nlicense: mit\n---\n", "mit"),
        (b"---\nlicense: 'apache-2.0' # of the weights\n---\n", "apache-2.0"),
        (b'---\n{"license": "mit", "tags": ["a"]}\n---\n', "mit"),
        (b"---\nlicense: >-\n  cc-by-nc-4.0\n---\n", "cc-by-nc-4.0"),
        (b"---\nlicense: mit\nmodel-index: 3\n---\n", "mit"),
        ("---\nlicense: mit\nauthor: François 🤗\n---\n".encode(), "mit"),
        (b"---\nlicense: mit\n---\n" + b"x" * (3 << 20), "mit"),
        (b"---\nlicense: other\n---\n", "other"),
        (b"---\nlicense: other\nlicense_name: model-license\n---\n", "model-license"),
        (
            b"---\nlicense: other\nlicense_name: model-license\n"
            b"license_link: https://github.com/alibaba-damo-academy/FunASR\n---\n",
            "model-license (https://github.com/alibaba-damo-academy/FunASR)",
        ),
        (b"---\nlicense: other\nlicense_name: 3\n---\n", "unknown"),
        (b'---\nlicense: other\nlicense_name: a\nlicense_link: "b\\e"\n---\n', "unknown"),
        (b"---\nnotes: |\n  license: gpl\n---\n", "unknown"),
        (b"---\nlicense: [mit, gpl]\n---\n", "unknown"),
        (b"---\nlicense:\n---\n", "unknown"),
        (b"---\nlicense: mit\nText, for nothing closes the block.\n", "unknown"),
        (b"---\nlicense: mit: gpl\n---\n", "unknown"),
        (b"---\nlicense: \x1b[1mmit\n---\n", "unknown"),
        (b'---\nlicense: "mit\\e[1m"\n---\n', "unknown"),
        (b"---\n- license: mit\n---\n", "unknown"),
        (b"---\n1: 2\n---\n", "unknown"),
        (b"---\n" + b"[" * 100_000 + b"\n---\n", "unknown"),
        (b"---\nlicense: !!python/object/apply:os.getcwd []\n---\n", "unknown"),
        (b"---\n", "unknown"),
        (b"", "unknown"),
        (b"license: mit\n", "unknown"),
        (b"\x89PNG\r\n\x1a\n\x00", "unknown"),
        ("---\nlicense: mit\n---\n".encode("utf-16"), "unknown"),
    ],
)
def test_license(tmp_path: Path, card: bytes, license_name: str) -> None:
    (tmp_path / "README.md").write_bytes(card)
    assert read_license(CheckpointFiles("model", tmp_path, "model", "")) == license_name


def test_no_card(tmp_path: Path) -> None:
    files = CheckpointFiles("model", tmp_path, "model", "")
    assert read_license(files) == "unknown"
    (tmp_path / "README.md").mkdir()
    assert read_license(files) == "unknown"


CARD = """---
license: other
---
# A model
Text.
## License
All of this
\tis *free*.
### In short
Yes.
## Citation
Ours.
"""
SECTION = ("All of this", "        is *free*.", "### In short", "Yes.")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ({"README.md": CARD}, SECTION),
        ({"README.md": CARD.replace("## License", "## Model Licence:")}, SECTION),
        ({"README.md": CARD.replace("\n", "\r\n")}, SECTION),
        ({"README.md": CARD, "LICENSE": "MIT\n\nYou may.\n"}, ("MIT", "", "You may.")),
        ({"README.md": CARD, "MODEL_LICENSE.txt": "a\x1b[1mb\x00\n"}, ("a[1mb",)),
        ({"README.md": CARD, "LICENSE": ""}, SECTION),
        ({"README.md": CARD.replace("## License", "## Licensed data")}, ()),
        ({"LICENSE": "x" * MAX_TEXT_BYTES}, ("x" * MAX_TEXT_BYTES,)),
        ({"LICENSE": "x" * (MAX_TEXT_BYTES + 1)}, ()),
        ({"LICENSE": "ä" * MAX_TEXT_BYTES}, ()),
        ({}, ()),
    ],
)
def test_text(tmp_path: Path, content: dict[str, str], lines: tuple[str, ...]) -> None:
    for name, text in content.items():
        (tmp_path / name).write_bytes(text.encode())
    assert read_license_text(CheckpointFiles("model", tmp_path, "model", "")) == lines


def test_the_text_goes_into_the_bundle(copy: Path, tmp_path: Path) -> None:
    (copy / "LICENSE").write_text("Für alle.\n\n\tReally.\n", "utf-8")
    bundle = export_bundle(copy, tmp_path / "bundle", precisions=["fp32"])
    assert bundle.license_text == ("Für alle.", "", "        Really.")
    assert read_bundle(tmp_path / "bundle") == bundle
