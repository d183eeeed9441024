"""What was measured so far, in a file: a run that was stopped goes on where it was."""

import json
from pathlib import Path
from typing import Any

from facevid import storage

FILE = "measured.json"


class Notes:
    """Results by name, written down one by one.

    Args:
        folder: Where the file is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._found: dict[str, Any] = json.loads(self._path.read_bytes()) if self._path.is_file() else {}

    def get(self, name: str) -> Any:
        """What was noted under a name, or None."""
        return self._found.get(name)

    def note(self, name: str, value: Any) -> None:
        """Write a result down."""
        self._found[name] = value
        storage.write_bytes(self._path, json.dumps(self._found, indent=1).encode())
