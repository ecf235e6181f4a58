"""How many threads there are, one model shared by many, and what a fork gets."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import voxmood
from voxmood.engine.threads import cgroup_quota, default_threads

RATE = 16000


def system(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "quota"),
    [
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        (
            "0::/a/b\n",  # the smallest on the way up counts
            {
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
            },
            0.5,
        ),
        ("0::/of/the/host\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1.0),
        (
            "5:cpu,cpuacct:/docker/x\n1:name=systemd:/\n",
            {
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            "5:cpu,cpuacct:/\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
        ("", {}, None),
    ],
)
def test_quota(tmp_path: Path, cgroup: str, files: dict[str, str], quota: float | None) -> None:
    root = system(tmp_path, cgroup, files)
    assert cgroup_quota(root) == quota
    processors = len(os.sched_getaffinity(0))
    expected = processors if quota is None else min(processors, max(1, -int(-quota // 1)))
    assert default_threads(root) == expected


@pytest.mark.linux
def test_affinity_decides() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from voxmood.engine.threads import default_threads; print(default_threads())"
    )
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"1"


@pytest.mark.parametrize(("low_memory", "predictions"), [(False, 1000), (True, 200)])
def test_many_threads_share_a_model(low_memory: bool, predictions: int, bundle: Path) -> None:
    model = voxmood.load(bundle, low_memory=low_memory)
    random = np.random.default_rng(0)
    clips = [random.normal(0, 0.1, length) for length in random.integers(1000, 16000, 20)]
    expected = [model.predict(clip, sampling_rate=RATE).logits.tobytes() for clip in clips]

    def same(index: int) -> bool:
        clip = index % len(clips)
        prediction = model.predict(clips[clip], sampling_rate=RATE)
        return prediction.logits.tobytes() == expected[clip]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(same, range(predictions)))


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it forks with threads
def test_a_fork_is_told_so_and_may_load_its_own() -> None:
    code = (
        "import os, numpy, voxmood\n"
        "clip = numpy.ones(8000)\n"
        "model = voxmood.load()\n"
        "model.predict(clip, sampling_rate=16000)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        model.predict(clip, sampling_rate=16000)\n"
        "    except voxmood.ForkError as error:\n"
        "        print(error, flush=True)\n"
        "    print(voxmood.load().predict(clip, sampling_rate=16000).label, flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "print(model.predict(clip, sampling_rate=16000).label)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    message, in_child, in_parent = done.stdout.splitlines()
    assert "load it in the new process" in message
    assert in_child == in_parent
    assert issubclass(voxmood.ForkError, RuntimeError)


@pytest.mark.linux
@pytest.mark.slow
def test_memory_is_flat() -> None:
    """10,000 predictions of the shipped model: less than 5 MB of growth."""
    code = (
        "import numpy, voxmood\n"
        "def resident():\n"
        "    pages = int(open('/proc/self/statm').read().split()[1])\n"
        "    return pages * 4096 / 1e6\n"
        "model = voxmood.load()\n"
        "random = numpy.random.default_rng(0)\n"
        "clips = [random.normal(0, 0.1, n) for n in random.integers(1000, 48000, 50)]\n"
        "for index in range(10500):\n"
        "    if index == 500: before = resident()\n"
        "    model.predict(clips[index % 50], sampling_rate=16000)\n"
        "print(before, resident())"
    )
    before, after = map(float, subprocess.check_output([sys.executable, "-c", code]).split())
    print(f"{before:.1f} MB before, {after:.1f} MB after")
    assert after - before < 5
