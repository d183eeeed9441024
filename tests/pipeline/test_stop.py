import errno
from pathlib import Path

import pytest

from pipeline.stop import full_disk, leaving_reason, look_for_full_disk, make_room_for_reason, take_reason


class NoProxyError(Exception):
    pass


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOSPC, "there is no space left on the disk of {}: make room"),
    (errno.EDQUOT, "your quota on the disk of {} is used up: make room"),
    (errno.EFBIG, "a file in {} would become larger than is permitted here (see `ulimit -f`)"),
])  # fmt: skip
def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path, number: int, words: str) -> None:
    said = full_disk(OSError(number, "x"), [tmp_path, tmp_path / "not there yet"])

    assert said is not None
    assert said.startswith(words.format(tmp_path))
    assert said.endswith("run the build again; what is finished is kept")


def test_other_errors_of_the_machine_are_no_full_disk(tmp_path: Path) -> None:
    assert full_disk(OSError(errno.EMFILE, "too many open files"), [tmp_path]) is None
    assert look_for_full_disk([tmp_path, tmp_path / "not there yet"]) is None


def test_a_reason_needs_no_room_when_there_is_none(tmp_path: Path) -> None:
    make_room_for_reason(tmp_path)
    (before,) = (path.stat() for path in tmp_path.iterdir())

    with pytest.raises(OSError, match="full"), leaving_reason(tmp_path, [tmp_path]):
        raise OSError(errno.ENOSPC, "full")

    (after,) = (path.stat() for path in tmp_path.iterdir())
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert (take_reason(tmp_path) or "").startswith("there is no space left")
    assert list(tmp_path.iterdir()) == []


def test_a_reason_that_is_no_full_disk_is_left_as_it_stands(tmp_path: Path) -> None:
    with pytest.raises(NoProxyError), leaving_reason(tmp_path, [tmp_path], NoProxyError):
        raise NoProxyError("the proxy is gone \u00fc")

    assert take_reason(tmp_path) == "the proxy is gone \u00fc"
    assert take_reason(tmp_path) is None


def test_a_bug_leaves_no_reason(tmp_path: Path) -> None:
    make_room_for_reason(tmp_path)
    for bug in (KeyError("x"), FileNotFoundError(errno.ENOENT, "x")):
        with pytest.raises(type(bug)), leaving_reason(tmp_path, [tmp_path], NoProxyError):
            raise bug

    assert take_reason(tmp_path) is None
