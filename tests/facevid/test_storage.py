"""Files appear whole or not at all, and only where they are meant to."""

import sys
from pathlib import Path

import pytest

from facevid import storage


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}-{request.node.name}"


def write_half(path: str) -> None:
    with storage.atomic_file(path) as file:
        file.write(b"half of it")
        raise InterruptedError


def test_what_was_written_is_read_back(root: str) -> None:
    path = storage.join(root, "a", "b.bin")
    storage.write_bytes(path, b"abc")
    assert storage.read_bytes(path) == b"abc"
    assert storage.size_bytes(path) == 3
    assert storage.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert storage.list_files(storage.join(root, "a")) == ("b.bin",)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(root: str) -> None:
    path = storage.join(root, "b.bin")
    storage.write_bytes(path, b"old")
    with pytest.raises(InterruptedError):
        write_half(path)
    assert storage.read_bytes(path) == b"old"
    assert storage.list_files(root) == ("b.bin",)


def test_a_failed_first_write_leaves_no_file(root: str) -> None:
    path = storage.join(root, "b.bin")
    with pytest.raises(InterruptedError):
        write_half(path)
    assert not storage.exists(path)
    assert storage.list_files(root) == ()
    if "://" not in root:
        assert list(Path(root).iterdir()) == []


def test_a_file_being_written_is_not_listed(tmp_path: Path) -> None:
    with storage.atomic_file(tmp_path / "b.bin") as file:
        file.write(b"half")
        assert storage.list_files(tmp_path) == ()
        assert len(list(tmp_path.iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]


def test_a_missing_file_is_not_found_and_a_missing_folder_is_empty(root: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(root, "none"))
    assert storage.list_files(storage.join(root, "none")) == ()
    storage.remove(storage.join(root, "none"))


@pytest.mark.parametrize("part", ["../x", "a/../../x", "/etc/passwd"])
def test_a_part_that_leaves_the_root_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="would leave root='/data'"):
        storage.join("/data", part)


@pytest.mark.parametrize(
    "path", ["http://example.org/x", "zip://x::file:///tmp/a.zip", "simplecache::s3://a/b", "ftp://a/b"]
)
def test_addresses_that_are_no_storage_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is neither a local path nor one of"):
        storage.read_bytes(path)


def test_a_bucket_without_its_client_is_told_with_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"'s3://bucket/a' needs a package that is not installed: .*s3fs"):
        storage.exists("s3://bucket/a")
