import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import processes
from pipeline.processes import EXIT_WORKER_DIED, descendants, is_alive, kill, kill_group, worker_died

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str, **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def wait_for_end(pid: int) -> bool:
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], 10.0)[0])
    finally:
        os.close(watched)


@pytest.mark.parametrize("system", ["", "import os; del os.pidfd_open; "], ids=["Linux", "without pidfd"])
def test_a_process_ends_with_the_one_it_works_for(system: str) -> None:
    # The grandchild works for the child and would wait for ever.
    grandchild = system + "from pipeline.processes import end_with; import sys, threading; end_with(int(sys.argv[1])); "
    grandchild += "print('ready', flush=True); threading.Event().wait()"
    code = (
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\nprint(p.pid, flush=True)\nsys.stdin.read()\n"
    )
    with python(code, grandchild) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        assert descendants(child.pid) == [pid]
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert wait_for_end(pid)


def test_a_process_that_ends_with_another_takes_those_below_it_along() -> None:
    # The great-grandchild has not come to know yet whom it works for, as a worker that is being started.
    late = "import sys, threading; print('ready', flush=True); threading.Event().wait()"
    grandchild = (
        "import subprocess, sys, threading; from pipeline.processes import end_with; end_with(int(sys.argv[1]))\n"
        f"p = subprocess.Popen([sys.executable, '-c', {late!r}], stdout=subprocess.PIPE); p.stdout.readline()\n"
        "print(p.pid, flush=True); threading.Event().wait()"
    )
    code = (
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)\n"
        "print(int(p.stdout.readline()), flush=True)\nsys.stdin.read()\n"
    )
    with python(code, grandchild) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
        try:
            assert wait_for_end(pid)
        finally:
            kill(pid)


def test_a_process_whose_master_is_gone_already_ends_at_once() -> None:
    with python("") as gone:
        gone.wait()
    code = "from pipeline.processes import end_with; import sys; end_with(int(sys.argv[1])); sys.exit(0)"
    with python(code, str(gone.pid)) as orphan:
        assert orphan.wait(10) == 71


def test_the_death_of_a_worker_ends_its_driver_and_the_other_workers() -> None:
    code = (
        "import os, subprocess, sys, threading\n"
        "from pipeline.processes import descendants, leave_when_a_worker_dies\n"
        "leave_when_a_worker_dies(lambda: print('before', descendants(os.getpid()), flush=True))\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()'])\n"
        "print(other.pid, flush=True)\n"
        "def watch():\n    raise RuntimeError('Worker subprocess exited with return code -9')\n"
        "threading.Thread(target=watch).start()\n"
        "threading.Event().wait()\n"
    )
    with python(code) as driver:
        assert driver.stdout is not None
        assert driver.stderr is not None
        other = int(driver.stdout.readline())
        assert driver.stdout.readline() == f"before [{other}]\n"
        assert driver.wait(10) == EXIT_WORKER_DIED
        try:
            assert wait_for_end(other)
        finally:
            kill(other)
        assert "a worker process died: Worker subprocess exited with return code -9" in driver.stderr.read()


@pytest.mark.parametrize(("status", "died"), [(0, False), (1, False), (2, False), (70, True), (-9, True), (9, True)])
def test_crashes_are_told_from_bugs_by_the_exit_status(status: int, died: bool) -> None:
    assert worker_died(status) is died


def test_a_process_that_has_ended_is_not_alive_even_before_its_parent_notices() -> None:
    with python("") as child:
        watched = os.pidfd_open(child.pid)
        try:
            assert select.select([watched], [], [], 10.0)[0]
        finally:
            os.close(watched)
        assert not is_alive(child.pid)
    assert not is_alive(child.pid)
    assert is_alive(os.getpid())


@pytest.mark.parametrize("step", ["iterdir", "read_text"])
def test_processes_that_end_while_they_are_counted_are_not_there(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    with python("import sys; sys.stdin.read()"):
        assert descendants(os.getpid())
        monkeypatch.setattr(Path, step, gone)
        assert descendants(os.getpid()) == []


def test_without_proc_a_process_is_asked_whether_it_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with python("") as gone:
        gone.wait()
    monkeypatch.setattr(processes, "_PROC", tmp_path / "proc")
    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(gone.pid)
    assert descendants(os.getpid()) == []


def test_killing_a_group_that_is_gone_is_no_error() -> None:
    with python("", start_new_session=True) as gone:
        gone.wait()
    kill_group(gone.pid)


def test_leaving_writes_what_was_printed_and_takes_nothing_apart() -> None:
    code = "import atexit; from pipeline.processes import leave; "
    code += "atexit.register(print, 'apart'); print('said'); leave()"
    with python(code) as gone:
        told, _ = gone.communicate()
    assert (told, gone.returncode) == ("said\n", 0)


def test_a_driver_is_ready_without_what_only_its_workers_need() -> None:
    heavy = {"cv2", "scipy", "torch", "yt_dlp"}
    code = f"import sys, pipeline.drive, pipeline.label_job; print(sorted({heavy} & set(sys.modules)))"
    with python(code) as ready:
        told, said = ready.communicate()
    assert told == "[]\n", said
