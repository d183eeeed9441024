"""What a baseline found, in the problem's own units."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fitting.baselines.problem import CAMERA, Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFit:
    """One track's fit, one identity for all frames.

    Attributes:
        parameters: Identity, expressions and cameras.
        expression_sigma: Posterior standard deviation, given all that the frame's own Hessian does not know.
        converged: Whether the steps became small before the iterations ran out.
        iterations: Steps taken.
    """

    parameters: Parameters
    expression_sigma: Float64[np.ndarray, "frames n_expression"]
    converged: bool
    iterations: int


def frame_sigma(
    hessian: Float64[np.ndarray, "frames columns columns"], *, known: int = 0
) -> Float64[np.ndarray, "frames n_expression"]:
    """Standard deviations of the expression from each frame's Hessian in (camera, expression, `known` more columns)."""
    variance = np.diagonal(np.linalg.inv(hessian), axis1=-2, axis2=-1)
    last = variance.shape[-1] - known
    return np.asarray(np.sqrt(np.maximum(variance[:, CAMERA.stop : last], 0.0)))
