"""The Matern process of order 3/2, and paths of it seen through noise: against dense Gaussians."""

import numpy as np
import pytest
import torch

from fitting.matern_prior import MaternPrior, matern_prior, matern_rate
from fitting.matern_smoother import MaternSmoother
from fitting.ragged import TimeMajor

LENGTHS = [7, 1, 40, 3]
SMOOTHNESSES = [16.0, 4.0, 30.0, 1.0]
COMPONENTS = 3


def spacings(rng: np.random.Generator) -> list[np.ndarray]:
    # Frames that are missing, that come twice as fast, and a number at first frames that nobody may use.
    return [np.concatenate([[9.0], rng.choice([1 / 60, 1 / 30, 0.2], size=length - 1)]) for length in LENGTHS]


def covariance(spacing_s: np.ndarray, smoothness: float) -> np.ndarray:
    rate = 30 * float(matern_rate(torch.tensor([smoothness], dtype=torch.float64)))
    time = np.cumsum(np.concatenate([[0.0], spacing_s[1:]]))
    distance = rate * np.abs(time[:, None] - time)
    return (1 + distance) * np.exp(-distance)


def made(layout: TimeMajor, spacing_s: list[np.ndarray]) -> MaternPrior:
    smoothness = torch.tensor(SMOOTHNESSES[: len(spacing_s)], dtype=torch.float64)
    return matern_prior(torch.from_numpy(layout.pack(spacing_s)), layout, smoothness)


def test_the_mean_squared_change_over_one_thirtieth_of_a_second_is_what_the_smoothness_says() -> None:
    smoothness = torch.tensor([0.51, 1.0, 4.0, 16.0, 1000.0], dtype=torch.float64)
    rate = matern_rate(smoothness)
    torch.testing.assert_close(2 * (1 - (1 + rate) * torch.exp(-rate)), 1 / smoothness, rtol=1e-9, atol=0)
    independent = matern_rate(torch.tensor([0.0, 0.3, 0.5], dtype=torch.float64))
    assert torch.all((1 + independent) * torch.exp(-independent) < 1e-12), "nothing is kept"


def test_energy_and_pull_are_those_of_the_dense_gaussian_of_each_track() -> None:
    rng = np.random.default_rng(0)
    layout, spacing_s = TimeMajor(LENGTHS, device="cpu"), spacings(rng)
    prior = made(layout, spacing_s)
    paths = [rng.normal(size=(length, COMPONENTS)) for length in LENGTHS]
    path = torch.from_numpy(layout.pack(paths))
    energy, pull = prior.energy(path), prior.pull(path)
    for track, own in enumerate(paths):
        rows = layout.positions(track)
        precision = np.linalg.inv(covariance(spacing_s[track], SMOOTHNESSES[track]))
        np.testing.assert_allclose(energy[rows].sum(), 0.5 * np.sum(own * (precision @ own)), rtol=1e-7)
        np.testing.assert_allclose(pull[rows], -precision @ own, rtol=1e-6, atol=1e-6)


def test_smoothed_paths_and_their_variances_are_those_of_the_dense_gaussian_and_of_each_track_alone() -> None:
    rng = np.random.default_rng(1)
    layout, spacing_s = TimeMajor(LENGTHS, device="cpu"), spacings(rng)
    # From nothing to nearly everything known.
    known = [rng.choice([0.0, 0.5, 1e4], size=(length, COMPONENTS)) for length in LENGTHS]
    said = [rng.normal(size=own.shape) * np.sqrt(own) for own in known]
    smoother = MaternSmoother.of(made(layout, spacing_s), torch.from_numpy(layout.pack(known)))
    mean, variance = smoother.mean(torch.from_numpy(layout.pack(said))), smoother.variances()
    for track in range(len(LENGTHS)):
        rows = layout.positions(track)
        prior = covariance(spacing_s[track], SMOOTHNESSES[track])
        for component in range(COMPONENTS):
            h, y = known[track][:, component], said[track][:, component]
            seen = np.eye(len(h)) + prior * h
            posterior = np.linalg.solve(seen, prior)
            np.testing.assert_allclose(mean[rows, component], posterior @ y, rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(variance[rows, component], posterior.diagonal(), rtol=1e-7, atol=1e-11)
    alone = TimeMajor(LENGTHS[:1], device="cpu")
    by_itself = MaternSmoother.of(made(alone, spacing_s[:1]), torch.from_numpy(known[0]))
    rows = layout.positions(0)
    assert torch.equal(by_itself.mean(torch.from_numpy(said[0])), mean[rows])
    assert torch.equal(by_itself.variances(), variance[rows])


@pytest.mark.parametrize("smoothness", [4.0, 1000.0])
def test_a_long_path_of_the_process_stays_finite_and_costs_half_per_number(smoothness: float) -> None:
    frames = 400
    spacing_s = np.full(frames, 1 / 30)
    root = np.linalg.cholesky(covariance(spacing_s, smoothness) + 1e-13 * np.eye(frames))
    path = torch.from_numpy(root @ np.random.default_rng(2).normal(size=(frames, 20)))
    layout = TimeMajor([frames], device="cpu")
    prior = matern_prior(torch.from_numpy(spacing_s), layout, torch.tensor([smoothness], dtype=torch.float64))
    np.testing.assert_allclose(float(prior.energy(path).mean()) / 20, 0.5, rtol=0.05)
