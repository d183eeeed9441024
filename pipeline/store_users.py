"""Who uses a store: builds while they run, and the outputs whose rows' results lie in it.

A build that was given a store leaves the place of its output there, so that nothing which that output needs is removed
for another. The output that a store lies in needs no such record.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facevid import storage
from facevid.description import DatasetError
from pipeline.damage import intact, require_kinds
from pipeline.job import Job, state_folder
from pipeline.output_lock import StoreBusyError
from pipeline.slices import whole_out

_FOLDER = "outputs"


@contextmanager
def using_store(job: Job) -> Iterator[None]:
    """For the time of a build: its output stands in the store's list, and nobody removes anything.

    Of a slice it is the output of all slices, whose rows are those that count.

    Raises:
        StoreBusyError: Somebody removes what is not needed just now.
    """
    store = job.store_folder
    with _locked(store, fcntl.LOCK_SH, f"`facevid purge` is at work in {store}; wait for it, and run the build again"):
        if _owner(store) != (out := whole_out(job)):
            storage.write_bytes(_record(store, out), json.dumps({"out": str(out)}).encode(), private=True)
        yield


@contextmanager
def alone_in_store(store: Path) -> Iterator[None]:
    """Keep builds out, for the time of the block.

    Raises:
        StoreBusyError: A build uses it.
    """
    with _locked(store, fcntl.LOCK_EX, f"a build is at work in the store {store}; wait for it, or stop it"):
        yield


def outputs_of(store: Path) -> set[Path]:
    """The outputs whose builds have used a store, as far as it knows; some may be gone.

    Raises:
        DatasetError: A record is damaged.
    """
    found = set()
    for name in storage.list_files(store / _FOLDER):
        with intact(store / _FOLDER / name, "remove it, and run the builds that use this store again"):
            record = json.loads(storage.read_bytes(store / _FOLDER / name))
            require_kinds(record, out=str)
            found.add(Path(record["out"]))
    owner = _owner(store)
    return found | {owner} if (state_folder(owner) / "plan.json").is_file() else found


def forget_output(store: Path, out: Path) -> None:
    """Take an output from the store's list."""
    storage.remove(_record(store, out))


def require_there(store: Path, outputs: set[Path]) -> None:
    """Refuse to judge what is needed by rows that nobody can look at.

    Raises:
        DatasetError: No build can be found in some of these outputs.
    """
    if gone := sorted(str(out) for out in outputs if not (state_folder(out) / "plan.json").is_file()):
        raise DatasetError(
            f"{', '.join(gone)} used the store {store}, but no build is there, so nobody knows what it needs; where it "
            "was moved, name its place with --also; where it is gone for good (or was moved), say --gone DIR"
        )


def _owner(store: Path) -> Path:
    return store.parent


def _record(store: Path, out: Path) -> Path:
    return store / _FOLDER / f"{hashlib.sha256(str(out).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.json"


@contextmanager
def _locked(store: Path, how: int, busy: str) -> Iterator[None]:
    descriptor = os.open(store / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreBusyError(busy) from error
        yield
    finally:
        os.close(descriptor)
