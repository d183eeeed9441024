"""`.npz` files with a JSON header: the same content gives the same bytes, and nothing is ever unpickled."""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins; the second is one without members."""


def npz_bytes(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an `.npz` file with `arrays`, and `header` as JSON in an array of bytes of that name."""
    members = {**arrays, "header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)}
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


def arrays_of(data: bytes) -> dict[str, np.ndarray]:
    """The arrays in the bytes of an `.npz` file.

    Raises:
        ValueError: They are none, damaged, or hold pickled objects.
    """
    # An archive may also stand at the end of something else. numpy goes by the first bytes: it would take that for an
    # array or a pickle, and tell how to load the pickle all the same.
    if not data.startswith(_SIGNATURES) or not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError("it is no archive of arrays, or was cut short")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # RuntimeError: a member is encrypted, or compressed in a way that zipfile does not know.
    except (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from error
    if other := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(f"its member {other[0]!r} is no array")
    return arrays


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
