"""How many threads a process should use: as many as it was given, not as the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path


def default_threads(root: Path = Path("/")) -> int:
    """Return the number of processors that this process may use.

    Its affinity and the quota of its cgroup limit them. A quota of 1.5 processors gives 2 threads,
    since one thread would leave a third of the quota unused.

    Args:
        root: the folder that holds `proc` and `sys`; tests pass another one.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    quota = cgroup_quota(root)
    return processors if quota is None else max(1, min(processors, math.ceil(quota)))


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Return the smallest CPU quota of this process's cgroup and of those above it.

    Args:
        root: the folder that holds `proc` and `sys`; tests pass another one.

    Returns:
        The quota in processors; None where there is none, as on any system but Linux.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            mount = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup/cpu"
        else:
            continue
        # Inside a container, the path may be the host's and lead nowhere. The mount itself then
        # says what the container was given.
        own = mount / path.strip("/")
        for folder in (own, *own.parents):
            quota = _quota(folder)
            if quota is not None:
                quotas.append(quota)
            if folder == mount:
                break
    return min(quotas, default=None)


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            allowed, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            allowed, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip()
                for name in ("quota", "period")
            )
        return int(allowed) / int(period) if int(allowed) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # a file is missing, or it says "max"
        return None
