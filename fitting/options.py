"""What a user may choose about the fit. Standard library only: the command line imports it."""

import math
from dataclasses import dataclass
from typing import Literal

FitMethod = Literal["two_stage", "koujan2020", "joint_map", "single_frame"]
Camera = Literal["scaled_orthographic", "perspective"]

LARGEST_SMOOTHNESS = 1e4
"""Beyond it the prior is lost in rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Options of the landmark fit. They are hashed into the configuration of a dataset."""

    method: FitMethod = "two_stage"
    """two_stage is the fit to use. The rest is there to compare with: koujan2020 (the paper's energy and order),
    joint_map (the textbook's one optimisation over everything), single_frame (every frame alone). At points that the
    fit did not see, seven real videos have an error of 0.79% of the outer-eye distance, with koujan2020 of 1.02%, with
    joint_map of 0.95%, with single_frame of 1.07%, where the detector's errors are learnt from the other six videos.
    The shipped model knows them from six of the seven, and two_stage has 0.76% with it, as the other texts here say.
    All of these are measured by `python -m benchmarks.fit --sections real`."""
    camera: Camera = "scaled_orthographic"
    """perspective finds one focal length per track besides. It takes six times as long to find the identity, and is
    worth it where the face is near a wide camera; the middle of the picture counts as the principal point."""
    contour: Literal["fixed", "slide"] = "fixed"
    """slide where points 0 to 16 are the outline of the face in the picture, as 2D detectors of the iBUG mark-up give
    them. On synthetic outlines at 25 to 45 degrees of yaw, poses come out a third to a half better, expressions a
    tenth, identities a tenth worse. MediaPipe's contour is fixed on the head."""
    landmark_noise: float = 0.02
    """Standard deviation of one landmark coordinate in one frame, as a fraction of the outer-eye distance, for a
    scheme of 68 points. Neighbours in denser schemes err together; there it grows with the root of their number. Where
    the face model knows the detector's errors (`facevid model info`), it is the unit of what is known."""
    landmark_bias: float = 0.02
    """The same for errors that last through a track, as where a detector puts the brows of this face. They do not
    average out over frames, so they are added to the noise where the identity is found, and to the uncertainty of all
    expressions."""
    expression_smoothness: float = 4.0
    """How slowly faces move: one over the mean squared change of an expression coefficient from one frame to the
    next at 30 frames per second. 0 leaves each frame to itself; at 10,000, the most it may be, a face stands still.
    At 16 each of seven real videos has a larger hold-out error (0.77% instead of 0.76% on average)."""
    learn_smoothness: bool = True
    """Learn from its landmarks how slowly the expressions of each track move; `expression_smoothness` is then the most
    it may be. Off, it is that everywhere."""
    second_pass: bool = True
    """Find each identity a second time, from many frames in their order in time, once key frames have told about where
    it is. The size of the head stays that of the key frames."""
    keyframes: int = 64
    """Frames from which the identity is found; the more spread in pose, the better."""
    keyframe_spacing_s: float = 0.3
    """Key frames lie at least this far apart. Expressions, and errors of detectors, last for a while; counting them
    twice makes the fit too sure of its identity. At 0.12 s, enough for independent noise and fast faces, four of seven
    real videos have a larger hold-out error, three a smaller one."""
    identity_iterations: int = 8
    """Gauss-Newton iterations of the identity stage, at most."""
    frame_iterations: int = 6
    """Gauss-Newton iterations of the expression and camera stage, at most; 2 at least: the identity's second pass lies
    between the first and the rest."""
    robust: bool = True
    """Geman-McClure weights, annealed; off means plain least squares."""
    box_sd: float | None = 8.0
    """Largest absolute value of an expression coefficient, standard deviations; None for no bound. The largest in seven
    real videos is 7.0."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the tensors live. The code is the same."""

    def __post_init__(self) -> None:
        if self.method != "two_stage" and self.device != "cpu":
            raise ValueError(f"method={self.method!r} is a baseline and runs on the CPU; device={self.device!r}")
        for name, only in (("camera", "scaled_orthographic"), ("contour", "fixed")):
            if self.method != "two_stage" and getattr(self, name) != only:
                raise ValueError(f"method={self.method!r} is a baseline that knows {name}={only!r} only")
        if not 0.0 < self.landmark_noise < 1.0:
            raise ValueError(f"landmark_noise={self.landmark_noise} is no fraction between 0 and 1")
        for name in ("landmark_bias", "expression_smoothness", "keyframe_spacing_s"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} is negative or not finite")
        if self.expression_smoothness > LARGEST_SMOOTHNESS:
            raise ValueError(
                f"expression_smoothness={self.expression_smoothness} is above {LARGEST_SMOOTHNESS:g}, at which a face "
                "stands still already; real faces have about 4"
            )
        if self.box_sd is not None and not 0.0 < self.box_sd < math.inf:
            raise ValueError(f"box_sd={self.box_sd} is not positive and finite; None means no bound")
        for name, least in (("keyframes", 1), ("identity_iterations", 1), ("frame_iterations", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} is below {least}")
