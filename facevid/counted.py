"""Numbers with what they count, for people to read."""


def counted(count: int, thing: str, things: str = "") -> str:
    """Such as `1 video`, `2 videos` or `0 videos`, and `12,345 frames`.

    Args:
        count: How many.
        thing: What, in the singular.
        things: What, in the plural; without it, the singular and an s.
    """
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
