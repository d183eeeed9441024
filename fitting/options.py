"""What a user may choose about the fit. Standard library only: the command line imports it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Options of the landmark fit. They are hashed into the configuration of a dataset."""

    landmark_noise: float = 0.01
    """Standard deviation of one landmark coordinate, as a fraction of the outer-eye distance."""
    expression_smoothness: float = 16.0
    """Weight of the squared first difference over time of the expression, per frame at 30 frames per second."""
    keyframes: int = 64
    """Frames from which the identity is found; the more spread in pose, the better."""
    identity_iterations: int = 8
    """Gauss-Newton iterations of the identity stage, at most."""
    frame_iterations: int = 6
    """Gauss-Newton iterations of the expression and camera stage, at most."""
    robust: bool = True
    """Geman-McClure weights, annealed; off means plain least squares."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the tensors live. The code is the same."""
