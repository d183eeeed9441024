"""Where the videos of a dataset lie, for whoever wants to look at them again."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevid import storage
from pipeline.manifest import local_path
from pipeline.plan import read_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSources:
    """Where the videos of a dataset may lie.

    Attributes:
        store: The build's store.
        manifest_folder: What relative paths in the manifest refer to.
    """

    store: Path
    manifest_folder: Path

    @classmethod
    def of(cls, dataset_dir: Path, store: Path | None) -> "VideoSources":
        """Those of a dataset.

        Args:
            dataset_dir: Its folder.
            store: Where the build kept its videos; None is what the build's own notes say.
        """
        try:
            job = read_plan(dataset_dir).job
        except FileNotFoundError:  # a copy or a release: the build's own notes stayed behind
            return cls(store=store or dataset_dir / "store", manifest_folder=dataset_dir)
        return cls(store=store or job.options.store or dataset_dir / "store", manifest_folder=job.manifest_folder)

    def find(self, row: Mapping[str, Any]) -> Path | None:
        """The video of a track: in the store, or the local file that the manifest named, if it is still the same."""
        sha256 = str(row["source_sha256"])
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            return None
        stored = self.store / "videos" / sha256[:2] / sha256
        if stored.is_file():
            return stored
        if row["fetched_at"] is not None:
            return None
        local = local_path(row["url"], self.manifest_folder)
        return local if local.is_file() and storage.sha256(local) == sha256 else None
