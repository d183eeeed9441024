"""Videos in buckets, `gs://` and `s3://`, read with this machine's own credentials."""

from pathlib import Path

from facevid import storage
from facevid.failures import FailureCode
from pipeline.fetch_errors import FetchError

_CHUNK_BYTES = 1 << 20


def copy_object(url: str, target: Path, *, max_bytes: int) -> None:
    """Copy an object to a local file.

    Args:
        url: Its address.
        target: The file to write.
        max_bytes: Larger ones are refused, at the latest when so much has come.

    Raises:
        FetchError: It cannot be had.
        ValueError: The package that knows this kind of bucket is not installed.
    """
    if "::" in url:  # fsspec would chain file systems
        raise FetchError(FailureCode.UNSAFE_ADDRESS, f"{url} chains addresses")
    left = max_bytes
    try:
        with storage.open_read(url) as source, target.open("wb") as copy:
            while data := source.read(_CHUNK_BYTES):
                left -= len(data)
                if left < 0:
                    raise FetchError(FailureCode.TOO_LARGE, f"{url} has more than {max_bytes} bytes")
                copy.write(data)
    except FileNotFoundError as error:
        raise FetchError(FailureCode.NOT_FOUND, f"there is no object {url}") from error
    except IsADirectoryError as error:
        raise FetchError(FailureCode.UNSUPPORTED_FORMAT, f"{url} is a folder; give each video a row") from error
    except PermissionError as error:
        raise FetchError(FailureCode.DENIED, f"this machine's credentials do not open {url}: {error}") from error
    except TimeoutError as error:
        raise FetchError(FailureCode.TIMEOUT, f"{url} did not come in time: {error}", passing=True) from error
    except ConnectionError as error:
        raise FetchError(FailureCode.NETWORK, f"{url} cannot be read: {error}", passing=True) from error
