"""`.npz` files with a JSON header: the same content gives the same bytes, and nothing is ever unpickled."""

import io
import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins; the second is one without members."""
_MOST_BYTES = 8 << 30
"""Of the arrays of an archive, unpacked (a packed byte may be a thousand): ten times those of the largest models."""
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def npz_bytes(header: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an `.npz` file with `arrays`, and `header`, if any, as JSON in an array of bytes of that name."""
    members = dict(arrays)
    if header is not None:
        members["header"] = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    out = io.BytesIO()
    # numpy.savez stamps the time of day into the archive.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(members):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(members[name], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return out.getvalue()


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file.

    Raises:
        ValueError: The file is no `.npz`, is damaged, or holds pickled objects.
        OSError: The file cannot be read.
    """
    data = path.read_bytes()
    try:
        return arrays_of(data)
    except ValueError as error:
        raise ValueError(f"{path} is no .npz file of plain arrays: {error}") from error


def arrays_of(data: bytes, *, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays in the bytes of an `.npz` file. Memory is asked for once a member is known to hold what it says.

    Args:
        data: The whole file.
        names: Read only these, if they are there; None reads all.

    Raises:
        ValueError: They are none, damaged, hold pickled objects, claim to be larger than they are, or are too large.
    """
    # An archive may also stand at the end of something else. numpy goes by the first bytes: it would take that for an
    # array or a pickle, and tell how to load the pickle all the same.
    if not data.startswith(_SIGNATURES) or not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError("it is no archive of arrays, or was cut short")
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            wanted = {name: member for name, member in members.items() if names is None or name in names}
            unpacked_bytes = sum(member.file_size for member in wanted.values())
            if unpacked_bytes > _MOST_BYTES:
                raise ValueError(f"its arrays have {unpacked_bytes} bytes, more than {_MOST_BYTES}")
            for name, member in wanted.items():
                with archive.open(member) as file:
                    _check_header(member, file)
                with archive.open(member) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    # RuntimeError: a member is encrypted, or compressed in a way that zipfile does not know.
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from error
    except MemoryError as error:
        raise ValueError(f"its arrays have {unpacked_bytes} bytes, more than there is memory for") from error
    return arrays


def _check_header(member: zipfile.ZipInfo, file: IO[bytes]) -> None:
    """Hold what the header of an array promises against the bytes that follow it."""
    if not member.filename.endswith(".npy"):
        raise ValueError(f"its member {member.filename!r} is no array")
    try:
        shape, _, dtype = _HEADER_READERS[np.lib.format.read_magic(file)](file)
        # Whole numbers only: to Python, True is one.
        whole = all(type(length) is int and length >= 0 for length in shape)
    # numpy reads a header as Python text, whose parser has errors of its own; KeyError: a version for named columns.
    except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise ValueError(f"its member {member.filename!r} has no header of an array") from error
    if dtype.hasobject:
        raise ValueError(f"its member {member.filename!r} holds Python objects, not numbers or text")
    promised, there = math.prod(shape) * dtype.itemsize if whole else -1, member.file_size - file.tell()
    if promised != there or (not dtype.itemsize and shape):
        raise ValueError(
            f"its member {member.filename!r} says {dtype} of shape {shape}, which is not what its {there} bytes hold"
        )


def header_of(arrays: Mapping[str, np.ndarray], *, where: Path) -> dict[str, Any]:
    """The header that `npz_bytes` wrote.

    Raises:
        ValueError: There is none.
    """
    if "header" not in arrays:
        raise ValueError(f"{where} has no header; it holds: {', '.join(sorted(arrays)) or 'nothing'}")
    try:
        header = json.loads(arrays["header"].tobytes())
    except ValueError as error:
        raise ValueError(f"{where}: the header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{where}: the header is {type(header).__name__}, expected an object")  # noqa: TRY004
    return header
