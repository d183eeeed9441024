"""Files of our own that were cut short, altered or replaced: one error that names the file and the way out."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facevid.description import DatasetError

_SIGNS = (
    AttributeError, EOFError, LookupError, RecursionError, TypeError, ValueError, struct.error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


@contextmanager
def intact(path: Path, advice: str) -> Iterator[None]:
    """Read a file in the block, and nothing else: what the content makes Python raise there is the file's fault.

    Args:
        path: The file.
        advice: What to do about it.

    Raises:
        DatasetError: The file does not hold what we wrote.
    """
    try:
        yield
    except _SIGNS as error:
        raise DatasetError(f"{path} is damaged ({type(error).__name__}: {error}); {advice}") from error
    except OSError as error:
        if error.errno is not None:  # the system's; readers of Parquet raise their own without one
            raise
        raise DatasetError(f"{path} is damaged ({error}); {advice}") from error


def require_kinds(values: object, **kinds: type | tuple[type, ...]) -> None:
    """Check that an object read from JSON has values of the kinds that we wrote.

    Raises:
        TypeError, KeyError: It has not, or is none.
    """
    if not isinstance(values, dict):
        raise TypeError("it is no object")
    for name, kind in kinds.items():
        if not isinstance(values[name], kind) or (isinstance(values[name], bool) and kind is not bool):
            raise TypeError(f"{name} is {values[name]!r}")
