"""Which encoding a text file is in that should be UTF-8: a person who knows can save it anew."""

import itertools
from pathlib import Path

_HEAD_BYTES = 4096
_FAIR_SHARE = 0.1
"""Of all lines: where fewer are no UTF-8, they may come from elsewhere, and the others are good."""
_LONGEST_LINE_BYTES = 1 << 20
_MARKS = ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_ZEROS_UTF16, _ZEROS_UTF32 = 0.4, 0.6
"""Shares of zero bytes: letters of ASCII have half of their bytes zero in UTF-16, and three quarters in UTF-32."""


def other_encoding(path: Path, *, line_by_line: bool = False) -> str | None:
    """What a text file is instead of UTF-8, as the end of a sentence that begins with its name; None where it is UTF-8.

    A single line that is no UTF-8, or a few of many, or some beside others that are more than ASCII, may be damaged:
    that is told of the lines. Where two or more are not, a fair share of all, and none is UTF-8 beyond ASCII, the file
    is in another encoding. What begins with a line that is too long to be read is not looked at.

    Args:
        path: The file.
        line_by_line: Who asks can do without some lines: only an encoding in which none can be read is told.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if (marked := next((name for mark, name in _MARKS if head.startswith(mark)), None)) is not None:
            return f"is {marked}"
        zeros = head.count(0) / max(len(head), 1)
        if zeros > _ZEROS_UTF16:
            return f"looks like {'UTF-32' if zeros > _ZEROS_UTF32 else 'UTF-16'}"
        if line_by_line:
            return None
        file.seek(0)
        lines = odd_lines = high = pairs = 0
        while line := file.readline(_LONGEST_LINE_BYTES + 1):
            if len(line) > _LONGEST_LINE_BYTES:
                break  # cut anywhere, in a letter too
            lines += 1
            if line.isascii():
                continue
            try:
                line.removeprefix(b"\xef\xbb\xbf").decode()
            except UnicodeDecodeError:
                odd_lines += 1
                high += sum(byte >= 0x80 for byte in line)
                pairs += sum(a >= 0x80 and b >= 0x80 for a, b in itertools.pairwise(line))
            else:
                return None
    if odd_lines < max(2, _FAIR_SHARE * lines):
        return None
    # Letters with accents stand between plain ones; letters of several bytes, or of another script, side by side.
    if pairs < high / 3:
        return "looks like Windows-1252, or another encoding with a byte for each letter"
    return "looks like an encoding with several bytes for a letter, such as GBK or Shift JIS, or like Windows-1251"
