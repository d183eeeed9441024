"""A deny list held against the addresses of a dataset, which are not those of the manifest any more.

Tables have addresses without secrets, and a release only the last name of those within networks: an entry that was
copied from the manifest is therefore looked for in these spellings, too. That may keep back more than was meant (the
same address with another token, another local file of the same name), never less.
"""

from typing import TYPE_CHECKING

from facevid.release.private import NAMELESS, shared_url

if TYPE_CHECKING:
    from pipeline.egress.lists import SourceList

_MOST_NAMED, _LONGEST_NAMED = 20, 120


class Takedowns:
    """Says of each video whether it must stay back, and afterwards which entries named nothing.

    Args:
        listed: The deny list.
    """

    def __init__(self, listed: "SourceList") -> None:
        from pipeline.egress.lists import SourceList

        self._listed = listed
        self._unused = {*listed.hosts, *listed.prefixes, *(f"id:{name}" for name in listed.ids)}
        shared = {shown: entry for entry in listed.prefixes if (shown := shared_url(entry)) != entry}
        self._shared = {shown: entry for shown, entry in shared.items() if shown != NAMELESS}
        self._spellings = SourceList(prefixes=frozenset(shown for shown in self._shared if "://" in shown))

    def __call__(self, url: str, video_id: str) -> bool:
        """Whether a video must stay back.

        Args:
            url: Its address in the tables.
            video_id: Its id.
        """
        found = [*self._listed.entries(url, video_id)]
        found += [self._shared[shown] for shown in (*self._spellings.entries(url, ""), url) if shown in self._shared]
        self._unused.difference_update(found)
        return bool(found)

    def unused_text(self) -> str:
        """The entries that named no kept track, in a line; "" where each named one."""
        if not self._unused:
            return ""
        named = ", ".join(ascii(entry)[1:-1][:_LONGEST_NAMED] for entry in sorted(self._unused)[:_MOST_NAMED])
        more = len(self._unused) - _MOST_NAMED
        named += f" and {more:,} more" if more > 0 else ""
        return f"{len(self._unused):,} entries of the deny list name no kept track: {named}; see how they are spelled"
