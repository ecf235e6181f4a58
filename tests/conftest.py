"""What the tests share: small random checkpoints and the bundle exported of one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores. PyTorch would take all of them in each worker, and its threads
    # would spin while they wait for each other: both together made exports seven times as slow.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # tests of engines set more threads

CORPUS = Path(__file__).parents[2] / "shared" / "corpora" / "emodb"


SYSTEMS = {"linux": sys.platform == "linux", "posix": sys.platform != "win32"}
"""For each mark of tests that only some systems can run, whether this one can."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this system cannot run."""
    for mark, can_run in SYSTEMS.items():
        for item in items:
            if not can_run and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"needs a system that is {mark}"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from voxmood_export.testing import LARGE, SMALL, make_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    make_checkpoint(folder, LARGE | SMALL)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA test.\n")
    return folder


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from voxmood_export import export_bundle

    folder = tmp_path_factory.mktemp("bundle") / "small"
    export_bundle(str(checkpoint), folder)
    return folder


@pytest.fixture(scope="session")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that gives arousal, dominance and valence."""
    from voxmood_export import export_bundle
    from voxmood_export.testing import LARGE, SMALL, make_checkpoint

    folder = tmp_path_factory.mktemp("values")
    make_checkpoint(folder / "checkpoint", LARGE | SMALL, architecture="audeering")
    export_bundle(folder / "checkpoint", folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of which several labels may be true."""
    from voxmood_export import export_bundle
    from voxmood_export.testing import LARGE, LAYOUTS, SMALL, Layout, make_checkpoint

    folder = tmp_path_factory.mktemp("several")
    with pytest.MonkeyPatch.context() as patch:
        settings = {"problem_type": "multi_label_classification"}
        layout = Layout("Wav2Vec2ForSequenceClassification", "wav2vec2", settings=settings)
        patch.setitem(LAYOUTS, "several", layout)
        make_checkpoint(folder / "checkpoint", LARGE | SMALL, architecture="several")
    export_bundle(folder / "checkpoint", folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="session")
def emodb() -> list[Path]:
    """Twenty recordings of 1.2 to 9 s, evenly picked by length."""
    import soundfile

    if not CORPUS.is_dir():
        pytest.skip("the recordings of ../shared/corpora/emodb are not here")
    lengths = {path: soundfile.info(path).duration for path in (CORPUS / "audio").glob("*.flac")}
    paths = sorted(lengths, key=lambda path: lengths[path])
    return [paths[index * (len(paths) - 1) // 19] for index in range(20)]
