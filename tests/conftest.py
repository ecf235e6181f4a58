"""What the tests share: small random checkpoints and the bundle exported of one."""

from __future__ import annotations

import functools
import gc
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
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


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported; PyTorch and 2,500 tests made it slow."""
    gc.freeze()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a layout to a folder with its `checkpoint` and `bundle`.

    It is made once for all workers, unless two of them need it at the same time.
    """
    from layouts import make

    from voxmood_export import export_bundle

    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "exported"
    shared.mkdir(exist_ok=True)

    @functools.cache
    def folder_of(layout: str) -> Path:
        folder = shared / layout
        if not folder.exists():
            made = tmp_path_factory.mktemp(layout)
            export_bundle(make(layout, made / "checkpoint"), made / "bundle")
            _prefer_int8(made / "bundle" / "bundle.json")
            with suppress(OSError):  # another worker was first
                made.rename(folder)
        return folder

    return folder_of


def _prefer_int8(description: Path) -> None:
    """Let int8 be the faster one, which chance decides for networks as small as these."""
    content = json.loads(description.read_text())
    times = {"fp32": 0.002, "int8": 0.001}
    for name, entry in content["precisions"].items():
        entry["measured"]["real_time_factor"] = times[name]
    description.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def checkpoint(exported: Callable[[str], Path]) -> Path:
    return exported("superb") / "checkpoint"


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """Return a copy of the checkpoint that a test may change."""
    return shutil.copytree(checkpoint, tmp_path / "small")


@pytest.fixture(scope="session")
def bundle(exported: Callable[[str], Path]) -> Path:
    return exported("superb") / "bundle"


@pytest.fixture(scope="session")
def values(exported: Callable[[str], Path]) -> Path:
    """Return a bundle that gives arousal, dominance and valence."""
    return exported("audeering") / "bundle"


@pytest.fixture(scope="session")
def several(exported: Callable[[str], Path]) -> Path:
    """Return a bundle of which several labels may be true."""
    return exported("multilabel") / "bundle"


@pytest.fixture(scope="session")
def emodb() -> list[Path]:
    """Twenty recordings of 1.2 to 9 s, evenly picked by length."""
    import soundfile

    if not CORPUS.is_dir():
        pytest.skip("the recordings of ../shared/corpora/emodb are not here")
    lengths = {path: soundfile.info(path).duration for path in (CORPUS / "audio").glob("*.flac")}
    paths = sorted(lengths, key=lambda path: lengths[path])
    return [paths[index * (len(paths) - 1) // 19] for index in range(20)]
