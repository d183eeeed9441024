"""The folder of drawings of a prediction: a later prediction replaces what an earlier one drew, and nothing else."""

import json
from pathlib import Path

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from facevid import storage

RECORD = ".drawings"


class DrawingFolder:
    """Pictures beside a table, named after their images.

    The folder keeps a record of what was drawn into it. A name is recorded before its picture is written, so that a
    prediction that was stopped, or killed, leaves nothing that the next one would not know.

    Args:
        folder: Where the pictures go; made with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self) -> None:
        """Whether the folder holds nothing but drawings of an earlier prediction.

        Raises:
            ValueError: It holds something else, or is no folder.
        """
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            self._refuse("is no folder")
        folders = [path.name for path in self.folder.iterdir() if path.is_dir()]
        if foreign := folders + sorted(set(storage.list_files(self.folder)) - {RECORD} - set(self._recorded())):
            self._refuse(f"holds what no prediction drew, such as {foreign[0]}")

    def clear(self) -> None:
        """Remove the drawings of an earlier prediction."""
        for name in self._recorded():
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / RECORD).unlink(missing_ok=True)

    def add(self, source: str, rgb: UInt8[ndarray, "height width 3"]) -> None:
        """Write the drawing of an image as `<source>.png`."""
        name = f"{source}.png"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / RECORD).open("a", encoding="utf-8") as record:
            record.write(json.dumps(name) + "\n")
        write_picture(self.folder / name, rgb)

    def _recorded(self) -> list[str]:
        record = self.folder / RECORD
        lines = record.read_text(encoding="utf-8", errors="replace").splitlines() if record.is_file() else []
        return [name for line in lines if (name := _file_name(line)) is not None]

    def _refuse(self, what: str) -> None:
        raise ValueError(
            f"the drawings would go to {self.folder}, which {what}; move it away, choose another --out, or give "
            "--no-draw"
        )


def write_picture(path: Path, rgb: UInt8[ndarray, "height width 3"]) -> None:
    """Write a picture as PNG, whole or not at all."""
    _, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    storage.write_bytes(path, png.tobytes())


def _file_name(line: str) -> str | None:
    # A line that a crash cut short, or that somebody else wrote, names nothing: its file counts as foreign.
    try:
        name = json.loads(line)
    except ValueError:
        return None
    inside = isinstance(name, str) and name == Path(name).name and name not in {"", ".."} and "\0" not in name
    return name if inside else None
