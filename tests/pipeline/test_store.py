import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from facevid.failures import FailureCode
from pipeline.output_lock import StoreBusyError, build_lock, is_locked
from pipeline.store import Store, StoredFailure, file_sha256

ROOT = Path(__file__).parents[2]


def test_a_result_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def write(folder: Path) -> None:
        (folder / "a").write_text("1")
        assert store.find("faces", "k1") is None
        (folder / "b").write_text("2")

    folder = store.commit("faces", "k1", write)

    assert store.find("faces", "k1") == folder
    assert sorted(file.name for file in folder.iterdir()) == ["a", "b"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_result_and_its_names_are_on_the_disk_before_and_after_it_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, steps = Store(tmp_path), list[str]()
    rename = Path.rename

    def renamed(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    with store.scratch() as scratch:
        (scratch / "a").write_text("1")
        names = {scratch / "a": "its file", scratch: "its folder", store.result_path("faces", "k1").parent: "its place"}
        monkeypatch.setattr(os, "fsync", lambda it: steps.append(names[Path(f"/proc/self/fd/{it}").readlink()]))
        monkeypatch.setattr(Path, "rename", renamed)
        store.adopt("faces", "k1", scratch)

    assert steps == ["its file", "its folder", "rename", "its place"]


def test_a_writer_that_raises_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def write(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        store.commit("faces", "k1", write)

    assert store.find("faces", "k1") is None
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_first_of_two_writers_of_one_result_wins(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit("faces", "k1", lambda folder: (folder / "a").write_text("first") and None)
    store.commit("faces", "k1", lambda folder: (folder / "a").write_text("second") and None)

    assert (store.result_path("faces", "k1") / "a").read_text() == "first"


def test_a_failure_keeps_no_secrets_of_an_address(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit_failure("fetch", "k1", FailureCode.CORRUPT, "https://x.org/a.mp4?token=hidden changed")

    assert "hidden" not in (store.result_path("fetch", "k1") / "failure.json").read_text()


def test_a_failure_is_a_result_until_it_is_forgotten_and_counts_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for attempt in (1, 2, 3):
        store.commit_failure("faces", "k1", FailureCode.TIMEOUT, f"try {attempt}")
        assert store.find("faces", "k1") is not None
        assert store.failure("faces", "k1") == StoredFailure(
            code=FailureCode.TIMEOUT, attempt=attempt, message=f"try {attempt}"
        )
        store.forget("faces", "k1")
        assert store.find("faces", "k1") is None
        assert store.failure("faces", "k1") is None


def test_a_video_lies_under_its_hash(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.scratch() as scratch:
        (scratch / "x").write_bytes(b"video")
        sha256 = file_sha256(scratch / "x")
        path = store.add_video(scratch / "x", sha256)

    assert path == store.video_path(sha256)
    assert path.read_bytes() == b"video"


def dead_writer(store: Path) -> Path:
    """What a process leaves in `tmp` that is killed while it writes."""
    code = (
        "import os, pathlib, signal, sys\nfrom pipeline.scratch import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n    (folder / 'half').write_bytes(bytes(60))\n"
        "    print(folder, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(store)], cwd=ROOT, capture_output=True, check=False)
    return Path(ended.stdout.decode().strip())


@pytest.mark.parametrize("host", [socket.gethostname(), "a-new-container"], ids=["same name", "new name"])
def test_sweeping_removes_only_what_dead_processes_left_in_whatever_container(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stack = Store(tmp_path), ExitStack()
    dead = dead_writer(tmp_path)
    assert (dead / "half").exists()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 2**22 + 1)  # in a namespace of its own: it says nothing here
        mine = stack.enter_context(store.scratch())

    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: host)
        store.sweep()

    assert mine.is_dir()
    assert not dead.exists()
    stack.close()
    assert not any((tmp_path / "tmp").iterdir())


def test_a_second_build_over_one_output_is_refused(tmp_path: Path) -> None:
    with build_lock(tmp_path / "build"):
        assert is_locked(tmp_path / "build")
        with pytest.raises(StoreBusyError, match=r"another build .*is at work in"), build_lock(tmp_path / "build"):
            pass
    assert not is_locked(tmp_path / "build")
    with build_lock(tmp_path / "build"):
        pass


def test_killing_a_process_releases_its_lock(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom pipeline.output_lock import build_lock\n"
        "with build_lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        assert is_locked(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_locked(tmp_path)


def somebody_holds(store: Store) -> bool:
    """Whether any result is being made, asked without waiting."""
    with (store.root / "holds").open("r+b") as file:
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except BlockingIOError:
            return True
    return False


def test_a_result_that_is_being_made_is_held_and_others_are_free(tmp_path: Path) -> None:
    store = Store(tmp_path)

    with store.alone("fetch", "k"):
        assert somebody_holds(store)
        with store.alone("fetch", "l"), store.alone("faces", "k"):
            pass
        assert somebody_holds(store)
    assert not somebody_holds(store)


def test_files_that_vanish_while_the_store_is_measured_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    for name in ("videos/aa/a", "videos/bb/b", "tmp/job/crop", "partial/cc/c/video.bin.part"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"12345")
    measure = os.stat

    def late(path: object, **how: bool) -> os.stat_result:
        if str(path).endswith("/crop"):
            (tmp_path / "tmp/job/crop").unlink(missing_ok=True)
        seen = measure(path, **how)  # type: ignore[arg-type]
        if str(path).endswith("/b"):
            (tmp_path / "videos/bb/b").unlink()
        return seen

    monkeypatch.setattr(os, "stat", late)
    monkeypatch.setattr(Path, "stat", late)

    assert store.video_bytes() == 15
