"""What a user may choose about prediction. Standard library only: the command line imports it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Options of `facevid predict`."""

    batch_size: int = 16
    """Faces that go through the network together."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network runs: cpu takes its ONNX form through ONNX Runtime, cuda its weights through torch."""
    draw: bool = True
    """Draw landmarks, mesh and class into pictures or a video, beside the table; that takes most of the time."""
    max_frames: int | None = None
    """Stop after this many frames or images; without it, all of them."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} is below 1")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames={self.max_frames} is below 1")
