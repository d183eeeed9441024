"""The FaceVid dataset: schema, storage, shards, reading, and the way in (command line and report).

`facevid.open(path)` opens a dataset; see `facevid.dataset`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # Loaded on first use: `import facevid` must stay free of pyarrow and numpy for the command line's help.
    if name == "open":
        from facevid.dataset import open_dataset

        return open_dataset
    raise AttributeError(f"module 'facevid' has no attribute {name!r}")
