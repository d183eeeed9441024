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


def with_a_member(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        written.writestr("a.txt", data)
    return out.getvalue()


def encrypted() -> bytes:
    """An archive whose only member is said to be encrypted, in both of its headers."""
    data = bytearray(with_a_member(one_array()))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


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
