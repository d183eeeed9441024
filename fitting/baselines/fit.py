"""One prepared track to one baseline's fit: the counterpart of the solver's two stages."""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from fitting.baselines.joint_map import fit_joint_map
from fitting.baselines.koujan2020 import fit_koujan2020
from fitting.baselines.problem import Parameters, Problem
from fitting.baselines.result import BaselineFit
from fitting.baselines.single_frame import fit_single_frames
from fitting.camera import ScaledOrthographic
from fitting.energy import Observations
from fitting.first_look import first_cameras
from fitting.landmark_basis import LandmarkBasis
from fitting.options import FitOptions
from fitting.preparation import PreparedTrack
from fitting.rotation import quaternion_from_matrix


def fit_baseline(
    track: PreparedTrack, basis: LandmarkBasis, options: FitOptions, points: Int64[np.ndarray, " seen"]
) -> BaselineFit:
    """Fit a track by `options.method`.

    The numbers of iterations are the identity stage's, since all methods but the paper's find everything at once.

    Args:
        track: The track, all points.
        basis: The face model at the points that are seen.
        options: Choices of the fit; the method is not `two_stage`.
        points: Which of the track's points are seen.
    """
    problem, first = first_guess(track, basis, points)
    if options.method == "koujan2020":
        return fit_koujan2020(problem, first)
    fit = {"joint_map": fit_joint_map, "single_frame": fit_single_frames}[options.method]
    return fit(problem, first, iterations=options.identity_iterations, robust=options.robust)


def first_guess(
    track: PreparedTrack, basis: LandmarkBasis, points: Int64[np.ndarray, " seen"]
) -> tuple[Problem, Parameters]:
    """The mean face under closed-form cameras; a frame without a camera has no weight."""
    picture, weight = (values[:, points].astype(np.float64) for values in track.landmarks())
    observed = Observations(
        points=torch.from_numpy(np.ascontiguousarray(picture.transpose(0, 2, 1))),
        weight=torch.from_numpy(weight),
        precision=basis.noise_ratio.double() ** -2,
    )
    camera, found = first_cameras(observed, basis.mean.double().expand(len(picture), -1, -1), basis)
    problem = Problem(
        mean=_numpy(basis.mean.mT),
        identity_basis=_numpy(basis.identity.transpose(0, 1)),
        expression_basis=_numpy(basis.expression.transpose(0, 1)),
        picture=picture,
        weight=weight * found.numpy()[:, None],
        precision=_numpy(basis.noise_ratio) ** -2,
    )
    parameters = Parameters(
        identity=np.zeros((1, basis.identity.shape[-1])),
        expression=np.zeros((len(picture), basis.expression.shape[-1])),
        scale=camera.scale.numpy(),
        rotation=camera.rotation().numpy(),
        translation=camera.translation.numpy(),
    )
    return problem, parameters


def camera_of(parameters: Parameters) -> ScaledOrthographic:
    """The cameras as the solver has them."""
    return ScaledOrthographic(
        scale=torch.from_numpy(parameters.scale),
        quaternion=quaternion_from_matrix(torch.from_numpy(parameters.rotation)),
        translation=torch.from_numpy(parameters.translation),
    )


def _numpy(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.double().cpu().numpy())
