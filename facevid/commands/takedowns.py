"""A deny list held against the addresses of a dataset, which are not those of the manifest any more.

Tables have addresses without secrets, and a release only the last name of those within networks: an entry that was
copied from the manifest is therefore looked for in these spellings, too. That may keep back more than was meant (the
same address with another token, another local file of the same name), never less.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from facevid.release.private import NAMELESS, shared_url

if TYPE_CHECKING:
    from pipeline.egress.lists import SourceList


class Takedowns:
    """Says of each video whether it must stay back, and afterwards which entries named nothing.

    Args:
        listed: The deny list.
    """

    def __init__(self, listed: "SourceList") -> None:
        from pipeline.egress.lists import SourceList
        from pipeline.list_use import ListUse

        self._listed = listed
        self._use = ListUse(listed)
        shared = {shown: entry for entry in listed.prefixes if (shown := shared_url(entry)) != entry}
        self._shared = {shown: entry for shown, entry in shared.items() if shown != NAMELESS}
        self._spellings = SourceList(prefixes=frozenset(shown for shown in self._shared if "://" in shown))

    def __call__(self, track: Mapping[str, Any]) -> bool:
        """Whether a track must stay back, given its row."""
        url = track["url"]
        found = [*self._listed.entries(url, track["video_id"], track["subject_id"])]
        found += [self._shared[shown] for shown in (*self._spellings.entries(url, ""), url) if shown in self._shared]
        self._use.used(found)
        return bool(found)

    def unused_text(self) -> str:
        """The entries that named no kept track, in a line; "" where each named one."""
        return self._use.unused_text("kept track")
