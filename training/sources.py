"""What a model was trained on, for its card: the dataset's content, and under which licences its videos stand."""

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from facevid.dataset import Dataset

_MOST_LISTED, _LONGEST = 20, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the training crops come from.

    Attributes:
        dataset_sha256: See `content_sha256`.
        videos: How many videos.
        licences: How many of them state which licence, the most frequent first; without those that state none.
    """

    dataset_sha256: str
    videos: int
    licences: dict[str, int]


def content_sha256(dataset: Dataset) -> str:
    """sha256 over the hexadecimal sha256 of all shards, in the order of `facevid.json`."""
    return hashlib.sha256("".join(shard.sha256 for shard in dataset.description.shards).encode()).hexdigest()


def sources_of(dataset: Dataset, videos: Collection[str]) -> Sources:
    """The sources of these videos of a dataset."""
    wanted = set(videos)
    tracks = dataset.table("tracks", columns=["video_id", "licence"])
    stated = {
        video: licence
        for video, licence in zip(tracks["video_id"].to_pylist(), tracks["licence"].to_pylist(), strict=True)
        if video in wanted and licence
    }
    licences = dict(Counter(stated.values()).most_common())
    return Sources(dataset_sha256=content_sha256(dataset), videos=len(wanted), licences=licences)


def licences_in_words(videos: int, licences: dict[str, int]) -> str:
    """A sentence of Markdown; the licences' names are strangers' texts, and shown as nothing but text."""
    parts = [f"`{_plain(name)}` {count}" for name, count in list(licences.items())[:_MOST_LISTED]]
    if len(licences) > _MOST_LISTED:
        parts.append(f"{len(licences) - _MOST_LISTED} further licences {sum(list(licences.values())[_MOST_LISTED:])}")
    if unstated := videos - sum(licences.values()):
        parts.append(f"none stated {unstated}")
    return f"Licences of the {videos} training videos: {', '.join(parts)}."


def _plain(name: str) -> str:
    text = " ".join(name.replace("`", "'").split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
