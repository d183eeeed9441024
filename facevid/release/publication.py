"""What whoever publishes a dataset says of it: its name, who made it, where it is, when, and on which terms."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit

_LONGEST = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What goes into the card and the metadata of a release; all of it may be left out.

    Attributes:
        name: What the dataset is called.
        version: Its version; Croissant asks for MAJOR.MINOR.PATCH.
        creator: Who made it: a person or an organisation.
        url: The page of the dataset.
        published: Day of publication, YYYY-MM-DD. It is given, not taken from the clock: the same release is the same
            bytes tomorrow.
        terms: The licence of the release, as an SPDX name or an address.

    Raises:
        ValueError: A text that is too long or holds control characters, no web address, or no day.
    """

    name: str = ""
    version: str = ""
    creator: str = ""
    url: str = ""
    published: str = ""
    terms: str = ""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            text = getattr(self, name)
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{name}={text[:80]!a} is no text in UTF-8") from error
            if len(text) > _LONGEST or _CONTROL.search(text):
                raise ValueError(f"{name}={text[:80]!r} has more than {_LONGEST} characters, or control characters")
        if self.url and not _is_web_address(self.url):
            raise ValueError(f"url={self.url!r} is no http(s) address")
        if self.published:
            try:
                day = date.fromisoformat(self.published).isoformat()
            except ValueError:
                day = ""
            if day != self.published:
                raise ValueError(f"published={self.published!r} is no day; write it as 2026-01-31")

    def over(self, before: Mapping[str, str]) -> "Publication":
        """What was said before, as a release says it in its description, and in its place what is said now.

        Raises:
            ValueError: As the class.
        """
        return self.from_plain({**before, **self.to_plain()})

    def to_plain(self) -> dict[str, str]:
        """What was said, by name."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, str]) -> "Publication":
        """From a description; what is not known is passed over.

        Raises:
            ValueError: As the class.
        """
        return cls(**{name: plain[name] for name in cls.__slots__ if name in plain})


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is not closed, or the like
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
