"""Files that appear whole or not at all, and what is known of them before the work."""

from pathlib import Path

import pytest

from fitting import whole_file
from fitting.whole_file import require_writable, write_whole


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "model.npz", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "model.npz", b"new")
    assert (tmp_path / "model.npz").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "model.npz")
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        require_writable(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    for inside in (Path("model.npz"), Path("deep") / "model.npz"):
        with pytest.raises(NotADirectoryError, match=r"model\.npz cannot be written: .*file is a file, not a folder"):
            require_writable(tmp_path / "file" / inside)
