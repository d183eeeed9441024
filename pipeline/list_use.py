"""Which entries of a deny list name nothing: a slip of the pen there leaves somebody in who asked to be taken out."""

from collections.abc import Iterable

from pipeline.egress.lists import SourceList

_MOST_NAMED, _LONGEST_NAMED = 20, 120


class ListUse:
    """Says afterwards which entries named nothing.

    Args:
        listed: The deny list.
    """

    def __init__(self, listed: SourceList) -> None:
        self._listed = listed
        self._unused = listed.all_entries()

    def see(self, url: str, video_id: str, subject_id: str | None) -> None:
        """Look at a row that may be named, see `SourceList.entries`."""
        if self._unused:
            self.used(self._listed.entries(url, video_id, subject_id))

    def used(self, entries: Iterable[str]) -> None:
        """These have named something."""
        self._unused.difference_update(entries)

    def unused_text(self, things: str) -> str:
        """The entries that named nothing, in a line; "" where each named something.

        Args:
            things: What they could have named, such as "kept track".
        """
        if not self._unused:
            return ""
        named = ", ".join(ascii(entry)[1:-1][:_LONGEST_NAMED] for entry in sorted(self._unused)[:_MOST_NAMED])
        more = len(self._unused) - _MOST_NAMED
        named += f" and {more:,} more" if more > 0 else ""
        if len(self._unused) == 1:
            return f"1 entry of the deny list names no {things}: {named}; see how it is spelled"
        return f"{len(self._unused):,} entries of the deny list name no {things}: {named}; see how they are spelled"
