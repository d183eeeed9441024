"""What a model was trained on, for its card: which datasets, and under which licences its videos stand."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from facevid.dataset import Dataset
from training.model_config import SourceDataset

_MOST_LISTED, _LONGEST = 20, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the training crops come from.

    Attributes:
        videos: How many videos.
        licences: How many of them state which licence, the most frequent first; without those that state none.
    """

    videos: int
    licences: dict[str, int]


def content_sha256(dataset: Dataset) -> str:
    """sha256 over the hexadecimal sha256 of all shards, in the order of `facevid.json`."""
    return hashlib.sha256("".join(shard.sha256 for shard in dataset.description.shards).encode()).hexdigest()


def source_dataset(dataset: Dataset) -> SourceDataset:
    """What a model says of a dataset that it was trained on."""
    return SourceDataset(config_hash=dataset.description.config_hash, content_sha256=content_sha256(dataset))


def sources_of(datasets: Sequence[Dataset], videos: Collection[tuple[int, str]]) -> Sources:
    """The sources of these videos, each named by the number of its dataset and its id."""
    stated = {}
    for number, dataset in enumerate(datasets):
        tracks = dataset.table("tracks", columns=["video_id", "licence"])
        for video_id, licence in zip(tracks["video_id"].to_pylist(), tracks["licence"].to_pylist(), strict=True):
            if licence:
                stated[number, video_id] = licence
    licences = dict(Counter(stated[video] for video in sorted(set(videos)) if video in stated).most_common())
    return Sources(videos=len(set(videos)), licences=licences)


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
