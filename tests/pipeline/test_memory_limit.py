"""Control groups as schedulers and containers set them up, made up as folders."""

import os
from pathlib import Path

import pytest

from pipeline import usage
from pipeline.memory_limit import memory_limit_bytes, out_of_memory_kills

MACHINE_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
NO_LIMIT_V1 = 9223372036854771712
V1 = "sys/fs/cgroup/memory"
V2 = "sys/fs/cgroup"


def machine(root: Path, own: str, files: dict[str, object]) -> Path:
    for name, content in ({"proc/self/cgroup": own} | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(("own", "files", "limit_bytes"), [
    # systemd-run -p MemoryMax=; the topmost group has no limits
    ("0::/user.slice/run-1.scope", {f"{V2}/user.slice/run-1.scope/memory.max": 2_000_000,
                                    f"{V2}/user.slice/memory.max": "max"}, 2_000_000),
    # a job of SLURM may have less than its step
    ("0::/slurm/job_7/step_0", {f"{V2}/slurm/job_7/step_0/memory.max": 3_000_000,
                                f"{V2}/slurm/job_7/memory.max": 1_000_000,
                                f"{V2}/slurm/memory.max": 9_000_000}, 1_000_000),
    ("0::/a", {f"{V2}/a/memory.max": 3_000_000, f"{V2}/a/memory.high": 2_500_000}, 2_500_000),
    ("4:memory:/slurm/uid_0/job_7\n3:cpuset:/slurm", {f"{V1}/slurm/uid_0/job_7/memory.limit_in_bytes": NO_LIMIT_V1,
                                                      f"{V1}/slurm/uid_0/memory.limit_in_bytes": 5_000_000,
                                                      f"{V1}/memory.limit_in_bytes": NO_LIMIT_V1}, 5_000_000),
    ("5:cpu,memory:/a\n0::/b", {f"{V1}/a/memory.limit_in_bytes": 4_000_000}, 4_000_000),
    # a container sees its own group as the topmost, and its path there is the host's
    ("0::/", {f"{V2}/memory.max": 6_000_000}, 6_000_000),
    ("4:memory:/docker/ab12", {f"{V1}/memory.limit_in_bytes": 7_000_000}, 7_000_000),
    ("0::/../../job_7", {f"{V2}/memory.max": 8_000_000, f"{V2}/../../job_7/memory.max": 1}, 8_000_000),
    # another's limit is none of ours
    ("0::/mine", {f"{V2}/other/memory.max": 1_000_000, f"{V2}/mine/memory.max": "max"}, MACHINE_BYTES),
    ("4:memory:/", {f"{V1}/memory.limit_in_bytes": NO_LIMIT_V1}, MACHINE_BYTES),
])  # fmt: skip
def test_the_least_limit_of_the_own_group_and_those_above_counts(
    own: str, files: dict[str, object], limit_bytes: int, tmp_path: Path
) -> None:
    assert memory_limit_bytes(machine(tmp_path / "a" / "b", own, files)) == limit_bytes


def test_where_there_are_no_groups_all_memory_is_ours(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) == MACHINE_BYTES
    assert out_of_memory_kills(tmp_path) == 0


@pytest.mark.parametrize(("own", "files"), [
    ("0::/a/b", {f"{V2}/a/b/memory.events": "oom 5\noom_kill 3", f"{V2}/a/memory.events": "oom_kill 9"}),
    ("4:memory:/a", {f"{V1}/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3"}),
    ("0::/", {f"{V2}/memory.events": "oom_kill 3"}),
])  # fmt: skip
def test_the_own_groups_count_of_processes_that_the_system_ended_is_read(
    own: str, files: dict[str, object], tmp_path: Path
) -> None:
    assert out_of_memory_kills(machine(tmp_path, own, files)) == 3


def test_workers_share_nine_tenths_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "memory_limit_bytes", lambda: 1_000_000_000)
    assert usage.memory_per_worker_bytes(2) == 450_000_000
