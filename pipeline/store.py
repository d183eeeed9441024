"""The store: videos by their sha256, results by the hash of what went into them, each whole or absent.

    store/
      videos/ab/abcd...          the bytes of one downloaded video
      index/ab/abcd.../          a copy of a video that can be read from any moment on; made again where it is missed
      STAGE/ab/abcd.../          one result: a folder of small files, committed by one rename
      partial/ab/abcd.../        what has come of a download; the next try goes on with it
      holds                      who makes which result, see `pipeline.hold`
      tmp/                       what is being written, see `pipeline.scratch`
      outputs/, lock             who uses the store, see `pipeline.store_users`

`STAGE` is fetch, faces or fit; a result that is a failure is a folder with a `failure.json`. Everything is
immutable once committed, so any number of processes may read and write at once: two that make the same
result make the same bytes, and the first rename wins. What keeps a second build out of an output folder (not
of a store) is `pipeline.output_lock`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevid.failures import FailureCode
from facevid.public_urls import without_secrets
from facevid.storage import sync_folder
from pipeline.damage import intact, require_kinds
from pipeline.download.partial import sweep_partials
from pipeline.hold import held
from pipeline.scratch import scratch_folder, sweep_scratch

_SOURCE_FILE = "source"

MAKE_AGAIN = "remove the folder that it is in, and run the build again: it makes what is missing"
"""What to do about a damaged result."""


class StoreFullError(Exception):
    """The videos have grown to the limit that the user gave.

    Args:
        root: The store's folder.
        bytes: What the videos take up, or would.
        limit_bytes: The limit.
    """

    def __init__(self, root: Path, bytes: int, limit_bytes: int) -> None:  # noqa: A002  # as the records call it
        super().__init__(
            f"the videos in {root} take up {bytes} bytes, max_store_bytes={limit_bytes}: raise it, or make room "
            "(`facevid purge DIR --done-videos`, of the dataset's folder), and run the build again"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFailure:
    """A failure as a result of a stage; which row it belongs to is known from the key.

    Attributes:
        code: Why.
        attempt: 1 for the first try.
        message: One sentence for a person.
        frames: Frames that were read before.
    """

    code: FailureCode
    attempt: int
    message: str
    frames: int = 0


class Store:
    """Results on a local disk.

    Args:
        root: The store's folder; it is made with the first result.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = str(root)

    def video_path(self, sha256: str) -> Path:
        """Where a downloaded video lies, or would lie."""
        return self.root / "videos" / sha256[:2] / sha256

    def video_bytes(self) -> int:
        """What the downloaded videos take up, whole ones and parts, bytes."""
        total = 0
        for name in ("videos", "index", "partial", "tmp"):
            for folder, _, files in os.walk(self.root / name):  # which passes over folders that are gone meanwhile
                for file in files:
                    with suppress(FileNotFoundError):  # other workers finish what they write
                        total += os.stat(os.path.join(folder, file)).st_size  # noqa: PTH116, PTH118  # thousands of them
        return total

    def result_path(self, stage: str, key: str) -> Path:
        """The folder of a result, or where it would be."""
        return Path(self._result(stage, key))

    def find(self, stage: str, key: str) -> Path | None:
        """The folder of a committed result (a failure counts), or None."""
        path = self._result(stage, key)
        return Path(path) if os.path.isdir(path) else None  # noqa: PTH112  # asked several times for each of many rows

    def failure(self, stage: str, key: str) -> StoredFailure | None:
        """The failure committed under this key, or None.

        Raises:
            DatasetError: Its record is damaged.
        """
        path = self._result(stage, key) + "/failure.json"
        try:
            with open(path, "rb") as file:  # noqa: PTH123  # as above
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        with intact(Path(path), MAKE_AGAIN):
            record = json.loads(data)
            require_kinds(record, attempt=int, message=str)
            return StoredFailure(
                code=FailureCode(record["code"]), attempt=record["attempt"], message=record["message"],
                frames=int(record.get("frames", 0)),
            )  # fmt: skip

    def _result(self, stage: str, key: str) -> str:
        return f"{self._root}/{stage}/{key[:2]}/{key}"

    def commit(self, stage: str, key: str, write: Callable[[Path], None], *, source: str = "") -> Path:
        """Commit a result.

        Args:
            stage: fetch, faces or fit.
            key: Hash of everything that went into it.
            write: Fills the empty folder that it is given.
            source: sha256 of the video that it was made from, for who has to find all that came of one.

        Returns:
            The committed folder.
        """
        with self.scratch() as scratch:
            write(scratch)
            return self.adopt(stage, key, scratch, source=source)

    def adopt(self, stage: str, key: str, scratch: Path, *, source: str = "") -> Path:
        """Commit a folder made by `scratch` as a result; if the result is already there, it stands."""
        if source:
            (scratch / _SOURCE_FILE).write_text(source, "ascii")
        for file in scratch.iterdir():
            _sync_file(file)
        sync_folder(scratch)
        target = self.result_path(stage, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        sync_folder(target.parent)
        return target

    def source(self, stage: str, key: str) -> str:
        """sha256 of the video that a result was made from; empty where it does not tell."""
        return source_in(self.result_path(stage, key))

    def commit_failure(
        self, stage: str, key: str, code: FailureCode, message: str, *,
        frames: int = 0, attempts: int = 1, address: str = "",
    ) -> None:
        """Commit a failure as the result of this key; its attempt counts on from failures that were forgotten.

        Args:
            stage: fetch, faces or fit.
            key: Hash of everything that went into it.
            code: Why.
            message: One sentence for a person; secrets in its addresses are not kept.
            frames: Frames that were read before.
            attempts: How often it was tried.
            address: Of a fetch, the hash of the address, for who has to find all that came of it.
        """
        before = self.failure("forgotten", f"{key}-{stage}")
        attempt = (before.attempt if before else 0) + attempts
        message = without_secrets(message)
        record: dict[str, Any] = {"code": code.value, "attempt": attempt, "message": message, "frames": frames}
        if address:
            record["address"] = address
        self.commit(stage, key, lambda folder: write_json(folder / "failure.json", record))

    def forget(self, stage: str, key: str) -> None:
        """Set a result aside, so that it is made again. Only the build that holds the lock may do so."""
        target, aside = self.result_path(stage, key), self.result_path("forgotten", f"{key}-{stage}")
        if target.is_dir():
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            target.rename(aside)

    def add_video(self, scratch_file: Path, sha256: str) -> Path:
        """Move a downloaded file (on the store's disk, as `scratch` gives) into the store."""
        target = self.video_path(sha256)
        _sync_file(scratch_file)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch_file.replace(target)
        sync_folder(target.parent)
        return target

    @contextmanager
    def alone(self, stage: str, key: str, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keep every other process that asks for the same result waiting; look for the result again inside the block.

        Args:
            stage: fetch, faces or fit.
            key: Hash of everything that goes into the result.
            on_wait: Called now and then while another process has the hold, and when it has come.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with held(self.root / "holds", f"{stage}/{key}", on_wait=on_wait):
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new empty folder on the store's disk, removed at the end of the block."""
        with scratch_folder(self.root) as folder:
            yield folder

    def sweep(self) -> None:
        """Remove what processes that are no more have left in `tmp`, and forgotten downloads."""
        sweep_scratch(self.root)
        sweep_partials(self.root)


def source_in(folder: Path) -> str:
    """The same of a result in this folder."""
    try:
        return (folder / _SOURCE_FILE).read_text("ascii", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file; the caller makes it atomic by committing its folder."""
    path.write_text(json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1), "utf-8")


def file_sha256(path: Path) -> str:
    """sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
