"""A visitor's cookies: read once, checked, kept in memory alone."""

from pathlib import Path

_FIELDS = 7
_HTTP_ONLY = "#HttpOnly_"


def read_cookies(path: Path) -> str:
    """Read a cookies file.

    Args:
        path: A file in Netscape format, as browsers' extensions export it.

    Returns:
        Its text. It holds secrets: no message quotes it.

    Raises:
        ValueError: It cannot be read, or is something else.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValueError(f"cookies={str(path)!r} cannot be read: {reason}") from None
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.removeprefix(_HTTP_ONLY)
        if entry.strip() and not entry.startswith("#"):
            fields = entry.split("\t")
            if len(fields) != _FIELDS or (not fields[4].replace(".", "", 1).isdecimal() and fields[4]):
                raise ValueError(
                    f"cookies={str(path)!r}: line {number} is not in Netscape format (7 fields between tabs); "
                    "export the file as cookies.txt"
                )
    return text
