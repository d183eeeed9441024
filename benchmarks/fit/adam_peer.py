"""Adam on the pixels, as head trackers fit landmarks (metrical-tracker, VHAP, pixel3dmm): autograd, many small steps.

One identity, and per frame an expression and a camera, all at once. The energy is the one that such trackers minimise:
landmarks, quadratic priors, squared first differences of the expression; the identity's prior counts once per frame,
without which the head shrinks. Cameras start from the closed form, and every unknown has a step of its own size.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fitting.baselines.problem import Parameters, Problem
from fitting.rotation import compose, matrix_from_quaternion, quaternion_from_matrix, quaternion_from_rotation_vector

STEP_SD = 0.1
"""First step of the coefficients, standard deviations; the last one is a tenth of it."""
STEP_CAMERA = 0.01
"""First step of log scale and turn; the translation's is this times the size of the face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamFit:
    """The parameters found, in the problem's units, and the processor time of the steps."""

    parameters: Parameters
    cpu_s: float


def fit_adam(problem: Problem, first: Parameters, *, steps: int, smoothness: float) -> AdamFit:
    """Fit one track.

    Args:
        problem: The track.
        first: Closed-form cameras and coefficients of 0.
        steps: Number of steps.
        smoothness: Weight of half the squared change of an expression coefficient from frame to frame.
    """

    def constant(values: np.ndarray) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32)

    def unknown(*shape: int) -> Tensor:
        return torch.zeros(*shape, requires_grad=True)

    frames, points = problem.weight.shape
    mean, picture = constant(problem.mean.ravel()), constant(problem.picture)
    weight = constant(problem.weight * problem.precision)[..., None]
    identity_basis = constant(problem.identity_basis.reshape(points * 3, -1).T)
    expression_basis = constant(problem.expression_basis.reshape(points * 3, -1).T)
    start = quaternion_from_matrix(constant(first.rotation))
    log_scale = constant(np.log(first.scale)).requires_grad_()
    shift = constant(first.translation).requires_grad_()
    identity, expression = unknown(1, len(identity_basis)), unknown(frames, len(expression_basis))
    turn = unknown(frames, 3)
    size = float(np.median(first.scale)) * float(np.linalg.norm(problem.mean.std(axis=0)))
    optimiser = torch.optim.Adam([
        {"params": [identity, expression], "lr": STEP_SD},
        {"params": [log_scale, turn], "lr": STEP_CAMERA},
        {"params": [shift], "lr": STEP_CAMERA * size},
    ])  # fmt: skip
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=0.1 ** (1 / steps))
    began_s = time.process_time()
    for _ in range(steps):
        optimiser.zero_grad()
        rotation = matrix_from_quaternion(compose(quaternion_from_rotation_vector(turn), start))
        head = (mean + identity @ identity_basis + expression @ expression_basis).reshape(frames, points, 3)
        seen = log_scale.exp()[:, None, None] * torch.bmm(head, rotation[:, :2].mT) + shift[:, None]
        change = expression[1:] - expression[:-1]
        energy = (
            (weight * (seen - picture).square()).sum()
            + frames * identity.square().sum()
            + expression.square().sum()
            + smoothness * change.square().sum()
        )
        (0.5 * energy).backward()
        optimiser.step()
        schedule.step()
    cpu_s = time.process_time() - began_s
    quaternion = compose(quaternion_from_rotation_vector(turn), start)
    found = replace(
        first,
        identity=_numpy(identity),
        expression=_numpy(expression),
        scale=np.exp(_numpy(log_scale)),
        rotation=_numpy(matrix_from_quaternion(quaternion / quaternion.norm(dim=1, keepdim=True))),
        translation=_numpy(shift),
    )
    return AdamFit(parameters=found, cpu_s=cpu_s)


def _numpy(values: Tensor) -> np.ndarray:
    return np.asarray(values.detach().double().numpy())
