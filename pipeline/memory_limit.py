"""How much memory this process and those below it may use: the machine's, or what a scheduler or container leaves them.

SLURM, systemd and containers limit memory by control groups. A limit holds for a group and all groups in it, so of the
process's own group and those above it the least one counts. Elsewhere than on Linux nothing is known of groups.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")
# Of version 2, where beyond `high` processes are slowed down until they hardly move, and of version 1.
_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
_EVENTS = ("memory.events", "memory.oom_control")


def memory_limit_bytes(root: Path = _ROOT) -> int:
    """The machine's memory, or the least limit of a control group that this process is in.

    Args:
        root: What stands for `/`; tests replace it.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in _groups(root):
        for name in _LIMITS:
            try:
                limits.append(int((group / name).read_text()))
            except (OSError, ValueError):  # no such file in this version, or in the topmost group; "max"
                continue
    return min(limits)


def out_of_memory_kills(root: Path = _ROOT) -> int:
    """How many processes of this process's control group the system has ended for lack of memory; 0 if nobody tells.

    Args:
        root: What stands for `/`; tests replace it.
    """
    for group in _groups(root):
        for name in _EVENTS:
            try:
                lines = (group / name).read_text().splitlines()
            except OSError:
                continue
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    return 0


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the control groups that this process is in, its own first, then those above."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:  # see cgroups(7), "/proc/[pid]/cgroup"
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount = root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
        else:
            continue
        parts = PurePosixPath(path).parts[1:]
        # In a container only what is mounted there can be seen, which then is the container's group.
        for depth in range(0 if ".." in parts else len(parts), -1, -1):
            yield mount.joinpath(*parts[:depth])
