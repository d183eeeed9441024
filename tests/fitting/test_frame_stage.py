"""The frame stage against scipy's least squares on a problem small enough for it."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from fitting.camera import ScaledOrthographic
from fitting.energy import Observations
from fitting.face_model import FaceModel
from fitting.first_look import first_cameras
from fitting.frame_stage import first_step, fit_frames
from fitting.frame_state import FrameState
from fitting.frame_system import FrameProblem
from fitting.identity_uncertainty import IdentityUncertainty
from fitting.landmark_basis import landmark_basis
from fitting.matern_prior import matern_prior
from fitting.ragged import TimeMajor
from fitting.smooth_prior import smooth_prior
from fitting.synthetic import SyntheticOptions, synthetic_track


@pytest.mark.parametrize("box", [None, 0.6])
def test_the_optimum_is_the_one_that_scipy_finds(toy_model: FaceModel, box: float | None) -> None:
    frames, size = 4, toy_model.n_expression
    truth = synthetic_track(toy_model, "toy68", SyntheticOptions(frames=frames, noise_px=2.0), seed=3)
    basis = landmark_basis(toy_model, "toy68", device="cpu")
    layout = TimeMajor([frames], device="cpu")
    points = truth.sequence.observed_px - truth.sequence.observed_px.mean(axis=1, keepdims=True)
    observed = Observations(
        points=torch.tensor(points.transpose(0, 2, 1)).contiguous(),
        weight=torch.ones(frames, 68),
        precision=torch.ones(68),
    )
    spacing = torch.full((frames,), 1 / 30, dtype=torch.float64)
    smoothness = torch.tensor([16.0], dtype=torch.float64)
    prior, matern = smooth_prior(spacing, layout, smoothness), matern_prior(spacing, layout, smoothness)
    identity_points = basis.identities(torch.tensor(truth.identity[None], dtype=torch.float32))
    start, _ = first_cameras(observed, identity_points[layout.track], basis)
    generator = torch.Generator().manual_seed(0)
    uncertainty = IdentityUncertainty(
        directions=0.4 * torch.eye(toy_model.n_identity)[None, :, :3],
        landmarks=0.5 * torch.randn(1, 2, 68, 3, generator=generator),
        remainder=torch.full((1, size), 1e-3),
        noise_share=torch.ones(1),
    )
    lasting = 1.0 + torch.rand(68, generator=generator)
    problem = FrameProblem(
        observed=observed, identity_points=identity_points, basis=basis, prior=prior, layout=layout
    )
    done: list[int] = []
    nothing = FrameState(expression=torch.zeros(frames, size), camera=start)
    begun = first_step(problem, nothing, spacing, robust=False, box=box)
    fit = fit_frames(
        problem, begun.state, spacing, accepted=begun.accepted, smoothness=smoothness,
        uncertainty=uncertainty, lasting=lasting, keyframe_gap=torch.full((1,), torch.inf, dtype=torch.float64),
        iterations=30, robust=False, box=box, on_iterations=done.append,
    )  # fmt: skip
    assert sum(done) == 29, "all that were asked for but the first, those that were not needed counted at the end"
    ours = float(fit.energy.sum())

    head = identity_points[0].double().numpy()
    flat = basis.expression.double().numpy()
    # Where the box matters, the fit under the chain stays.
    if box is None:
        turn = float(matern.turn[1]) * np.abs(np.arange(frames)[:, None] - np.arange(frames))
        whitened = np.linalg.inv(np.linalg.cholesky((1 + turn) * np.exp(-turn)))
    else:
        chain = np.eye(frames) - np.diag(prior.keep[1:].numpy(), -1)
        whitened = np.sqrt(prior.stiffness.numpy())[:, None] * chain

    def residuals(x: np.ndarray, head: np.ndarray = head) -> np.ndarray:
        step = torch.from_numpy(x.reshape(frames, 6 + size))
        camera = ScaledOrthographic(
            scale=start.scale.double(), quaternion=start.quaternion.double(), translation=start.translation.double()
        ).updated(step[:, :6])
        expression = step[:, 6:].numpy()
        shape = head + np.einsum("cln,fn->fcl", flat, expression)
        picture = camera.scale[:, None, None] * (camera.rotation() @ torch.from_numpy(shape))
        landmark = observed.points.double() - picture[:, :2] - camera.translation[:, :, None]
        return np.concatenate([landmark.numpy().ravel(), (whitened @ expression).ravel()])

    widest = np.full((frames, 6 + size), np.inf)
    if box is not None:
        widest[:, 6:] = box
    bounds = (-widest.ravel(), widest.ravel())
    oracle = least_squares(
        residuals, np.zeros(frames * (6 + size)), method="trf", xtol=1e-12, ftol=1e-12, bounds=bounds
    )
    np.testing.assert_allclose(ours, oracle.cost, rtol=1e-5)
    # In the box residuals stay large, and a Gauss-Newton step is called small sooner.
    np.testing.assert_allclose(
        fit.expression.numpy(), oracle.x.reshape(frames, -1)[:, 6:], atol=3e-3 if box is None else 2e-2
    )
    if box is not None:
        assert 4 <= (np.abs(fit.expression.numpy()) > box - 1e-6).sum() < frames * size / 2, "the box must matter"
        assert np.abs(fit.expression.numpy()).max() <= box + 1e-6
        return
    # The posterior given the identity: the inverse of J^T J at the optimum, expression rows.
    covariance = np.linalg.inv(oracle.jac.T @ oracle.jac)
    given_identity = covariance.diagonal().reshape(frames, -1)[:, 6:]
    # And where one standard deviation of each direction of identity and lasting errors would take the optimum.
    moves = basis.displaced(uncertainty.directions)[0].double().numpy()
    slope = np.stack([residuals(oracle.x, head + moves[..., k]) - oracle.fun for k in range(3)], axis=-1)
    errors = (uncertainty.landmarks[0] * lasting[:, None]).double().numpy().reshape(-1, 3)
    slope[: frames * len(errors)] += np.tile(errors, (frames, 1))
    reaction = (covariance @ oracle.jac.T @ slope).reshape(frames, -1, 3)[:, 6:]
    expected = np.sqrt(given_identity + (reaction**2).sum(-1) + 1e-3)
    assert np.median(expected / np.sqrt(given_identity)) > 1.1, "the identity must matter for this test to mean much"
    np.testing.assert_allclose(fit.expression_sigma.numpy(), expected, rtol=2e-2)
