"""How slowly expressions move, learnt: the evidence against a dense Gaussian, and known processes found again."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from fitting import temporal_prior
from fitting.ragged import TimeMajor
from fitting.smooth_prior import keep_over
from fitting.temporal_prior import USUAL_SMOOTHNESS, learnt_smoothness


def process(spacing_s: np.ndarray, smoothness: float, count: int, rng: np.random.Generator) -> np.ndarray:
    keep = keep_over(torch.from_numpy(spacing_s), torch.tensor(smoothness, dtype=torch.float64)).numpy()
    path = rng.normal(size=(len(spacing_s), count))
    for t in range(1, len(path)):
        path[t] = keep[t] * path[t - 1] + math.sqrt(1 - keep[t] ** 2) * path[t]
    return path


def seen(path: np.ndarray, noise: float, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    observed = path + noise * rng.normal(size=path.shape)
    information = np.broadcast_to(np.eye(path.shape[1]) / noise**2, (*path.shape, path.shape[1]))
    return torch.from_numpy(information.copy()), torch.from_numpy(observed / noise**2)


@pytest.mark.parametrize("smoothness", [1.0, 4.0, 16.0])
def test_the_smoothness_of_a_process_is_found_through_noise_at_regular_and_irregular_times(smoothness: float) -> None:
    rng = np.random.default_rng(0)
    spacings = [np.full(300, 1 / 30), rng.uniform(0.01, 0.08, size=300)]
    layout = TimeMajor([300, 300], device="cpu")
    both = [seen(process(spacing, smoothness, 12, rng), 0.5, rng) for spacing in spacings]
    information, vector = (
        torch.from_numpy(layout.pack([track[part].numpy() for track in both])) for part in (0, 1)
    )  # fmt: skip
    found = learnt_smoothness(information, vector, torch.from_numpy(layout.pack(spacings)), layout)
    np.testing.assert_allclose(np.log2(found.numpy()), math.log2(smoothness), atol=0.35)


def test_components_that_are_badly_known_and_far_from_independent_do_not_pull_it_down() -> None:
    rng = np.random.default_rng(0)
    count, landmarks, frames, noise = 24, 16, 300, 0.03
    spacing = np.full(frames, 1 / 30)
    path = process(spacing, 16.0, count, rng)
    # Fewer landmarks than components, seen a little differently in each frame.
    view = rng.normal(size=(landmarks, count)) + 0.05 * rng.normal(size=(frames, landmarks, count))
    view *= 0.9 ** np.arange(count) / math.sqrt(landmarks)
    picture = np.einsum("flc,fc->fl", view, path) + noise * rng.normal(size=(frames, landmarks))
    information = np.einsum("flc,fld->fcd", view, view) / noise**2
    vector = np.einsum("flc,fl->fc", view, picture) / noise**2
    layout = TimeMajor([frames], device="cpu")
    found = learnt_smoothness(
        torch.from_numpy(information), torch.from_numpy(vector), torch.from_numpy(spacing), layout
    )
    # All of them together say 1/2.
    assert abs(math.log2(float(found[0]) / 16.0)) < 0.5


def test_the_evidence_is_that_of_the_dense_gaussian() -> None:
    rng = np.random.default_rng(1)
    spacing = np.array([0.0, 0.03, 0.05, 0.02, 0.1])
    known = np.array([2.0, 0.5, 0.0, 3.0, 1.0])
    said = rng.normal(size=5) * np.sqrt(known)
    layout = TimeMajor([5], device="cpu")
    evidence = temporal_prior._evidence(
        torch.from_numpy(known[:, None]), torch.from_numpy(said[:, None]), torch.from_numpy(spacing), layout
    )[0].numpy()
    some = known > 0
    dense = []
    for smoothness in temporal_prior.SMOOTHNESSES:
        keep = keep_over(torch.from_numpy(spacing), torch.tensor(smoothness, dtype=torch.float64)).numpy()
        covariance = np.eye(5)
        for i in range(5):
            for j in range(i):
                covariance[i, j] = covariance[j, i] = np.prod(keep[j + 1 : i + 1])
        total = covariance[np.ix_(some, some)] + np.diag(1 / known[some])
        dense.append(multivariate_normal.logpdf(said[some] / known[some], cov=total))
    np.testing.assert_allclose(evidence - evidence[0], np.array(dense) - dense[0], atol=1e-9)


def test_a_track_that_says_nothing_has_the_usual_smoothness_and_a_broken_one_too() -> None:
    layout = TimeMajor([6, 6], device="cpu")
    information, vector = torch.zeros(12, 3, 3), torch.zeros(12, 3)
    information[torch.from_numpy(layout.positions(1))] = torch.nan
    found = learnt_smoothness(information, vector, torch.full((12,), 1 / 30, dtype=torch.float64), layout)
    np.testing.assert_allclose(found.numpy(), USUAL_SMOOTHNESS, rtol=1e-9)
