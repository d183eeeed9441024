"""Archives of arrays from strangers: arrays come out, or a ValueError that says what they are."""

import io
import pickle
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from fitting.npz import arrays_of, npz_bytes


def archive() -> bytes:
    return npz_bytes({}, {"a": np.arange(3)})


def one_array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(3))
    return out.getvalue()


def with_a_member(data: bytes, *, name: str = "a.txt") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        written.writestr(name, data)
    return out.getvalue()


def encrypted() -> bytes:
    """An archive whose only member is said to be encrypted, in both of its headers."""
    data = bytearray(with_a_member(one_array()))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def array_that_says(description: str, data: bytes = b"") -> bytes:
    """A `.npy` file with a header of one's own, in an archive."""
    header = description.encode() + b"\n"
    return with_a_member(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data, name="a.npy")


def shaped(shape: str, kind: str = "<f8") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"


def test_arrays_come_out_as_they_went_in() -> None:
    seen = arrays_of(npz_bytes({"name": "x"}, {"a": np.eye(2, dtype=np.float32)}))
    np.testing.assert_array_equal(seen["a"], np.eye(2, dtype=np.float32))
    assert sorted(seen) == ["a", "header"]


def test_an_archive_without_members_has_no_arrays() -> None:
    out = io.BytesIO()
    zipfile.ZipFile(out, "w").close()
    assert arrays_of(out.getvalue()) == {}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (one_array, "no archive of arrays"),
        (lambda: one_array() + archive(), "no archive of arrays"),
        (lambda: pickle.dumps([1]) + archive(), "no archive of arrays"),
        (lambda: archive()[:-30], "no archive of arrays, or was cut short"),
        (lambda: with_a_member(b"words"), r"its member 'a\.txt' is no array"),
        (encrypted, "encrypted"),
    ],
    ids=["array", "array-then-archive", "pickle-then-archive", "cut-short", "text", "encrypted"],
)
def test_what_is_no_archive_of_arrays_is_refused(data: Callable[[], bytes], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as raised:
        arrays_of(data())
    assert "pickle" not in str(raised.value)


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        (shaped("(400000000, 68, 2)"), r"'a\.npy' says float64 of shape \(400000000, 68, 2\), .* its 0 bytes"),
        (shaped(f"({2**60}, {2**60})"), "not what its 0 bytes hold"),
        (shaped("(-5, 68)"), "not what its 0 bytes hold"),
        (shaped("(5000000000000,)", kind="<U0"), "not what its 0 bytes hold"),
        (shaped("(True,)"), "not what its 0 bytes hold"),
        (shaped("5"), "no header of an array"),
        ("(" * 9000, "no header of an array"),
        (shaped("(0,)", kind="O"), "holds Python objects, not numbers"),
    ],
    ids=["large", "huge", "negative", "no-width", "true", "no-shape", "no-end", "objects"],
)
def test_an_array_is_held_against_its_bytes_before_memory_is_asked_for(description: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        arrays_of(array_that_says(description))


def test_arrays_too_large_for_any_face_model_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = npz_bytes({}, {"a": np.zeros(100_000)})
    monkeypatch.setattr("fitting.npz._MOST_BYTES", 500_000)
    with pytest.raises(ValueError, match=r"its arrays have 800\d\d\d bytes, more than 500000"):
        arrays_of(data)


def test_only_the_arrays_asked_for_are_read() -> None:
    data = io.BytesIO(archive())
    with zipfile.ZipFile(data, "a") as written:
        written.writestr("b.npy", b"words")
    assert list(arrays_of(data.getvalue(), names=("a", "c"))) == ["a"]
