"""Noise that lasts over frames: seen in what is left over, and what it does to smoothed coefficients."""

import dataclasses

import numpy as np
import pytest
import torch

from fitting.face_model import FaceModel
from fitting.matern_prior import matern_prior
from fitting.metrics import accuracy
from fitting.noise_memory import averaged_ratio, noise_memory, smoothed_variances
from fitting.options import FitOptions
from fitting.ragged import TimeMajor
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track

LENGTHS = [150, 40, 1, 90]
MEMORIES = [0.8, 0.0, 0.5, 0.3]


def test_the_memory_of_each_track_is_found_and_what_lasts_for_good_is_none() -> None:
    rng = np.random.default_rng(0)
    layout = TimeMajor(LENGTHS, device="cpu")
    tracks, weights = [], []
    for length, memory in zip(LENGTHS, MEMORIES, strict=True):
        noise = rng.normal(size=(length, 2, 68))
        for frame in range(1, length):
            noise[frame] = memory * noise[frame - 1] + np.sqrt(1 - memory**2) * noise[frame]
        weight = (rng.random((length, 68)) > 0.3).astype(np.float32)
        # An outlier without weight, and an error that each landmark keeps.
        noise[weight[:, None].repeat(2, 1) == 0] = 1e3
        tracks.append((noise + 5 * rng.normal(size=(2, 68))).astype(np.float32))
        weights.append(weight)
    residual, weight = torch.from_numpy(layout.pack(tracks)), torch.from_numpy(layout.pack(weights))
    found = noise_memory(residual, weight, layout)
    np.testing.assert_allclose(found[[0, 1, 3]], [0.8, 0.0, 0.3], atol=0.06)
    assert found[2] == 0, "one frame says nothing"
    alone = noise_memory(torch.from_numpy(tracks[3]), torch.from_numpy(weights[3]), TimeMajor([90], device="cpu"))
    assert torch.equal(alone[0], found[3])


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("smoothness", [0.0, 4.0, 30.0])
def test_variances_are_those_of_the_same_filter_on_noise_with_memory(memory: float, smoothness: float) -> None:
    frames = 301
    layout = TimeMajor([frames], device="cpu")
    spacing_s = torch.full((frames,), 1 / 30, dtype=torch.float64)
    of_track = torch.tensor([smoothness], dtype=torch.float64)
    prior = matern_prior(spacing_s, layout, expression_smoothness=of_track)
    apart = np.abs(np.arange(frames)[:, None] - np.arange(frames))
    turn = float(prior.turn[1]) * apart
    # Zero to the power of zero is one: without memory, frames are independent.
    signal, noise = (1 + turn) * np.exp(-turn), memory**apart.astype(float)
    for information in (0.05, 1.0, 20.0):
        filtered = signal @ np.linalg.inv(signal + np.eye(frames) / information)
        missed = np.eye(frames) - filtered
        prior_part = (missed @ signal @ missed.T)[150, 150]
        white = prior_part + (filtered @ filtered.T)[150, 150] / information
        real = prior_part + (filtered @ noise @ filtered.T)[150, 150] / information
        variance = torch.full((frames, 1), white, dtype=torch.float64)
        found = smoothed_variances(variance, torch.tensor([memory], dtype=torch.float64), prior)
        np.testing.assert_allclose(found[150, 0], real, rtol=0.02)


def test_a_variance_that_is_not_a_number_stays_so_and_leaves_the_others_alone() -> None:
    layout = TimeMajor([3, 2], device="cpu")
    prior = matern_prior(torch.full((5,), 1 / 30).double(), layout, torch.tensor([4.0, 4.0]).double())
    memory, variance = torch.tensor([0.5, 0.5]).double(), torch.full((5, 2), 0.1).double()
    good = smoothed_variances(variance, memory, prior)
    broken = variance.clone()
    broken[1, 0] = float("nan")
    found = smoothed_variances(broken, memory, prior)
    assert torch.isnan(found[1, 0])
    assert torch.equal(found.nan_to_num(0.0), torch.where(torch.isnan(broken), 0.0, good))


def test_a_mean_over_frames_is_as_uncertain_as_their_memory_makes_it() -> None:
    memory, gap, frames = 0.8, 3, 2000
    apart = np.abs(np.arange(frames)[:, None] - np.arange(frames)) * gap
    found = averaged_ratio(torch.tensor([memory, 0.0]).double(), torch.tensor([gap, np.inf]).double())
    np.testing.assert_allclose(found, [(memory**apart).mean() * frames, 1.0], rtol=1e-2)


@pytest.mark.parametrize(("kind", "bias"), [({"noise_memory": 0.8}, 0.0), ({"bias_px": 1.0}, 1 / 89)])
def test_sigma_knows_of_noise_that_remembers_and_of_errors_that_last(
    toy_model: FaceModel, kind: dict[str, float], bias: float
) -> None:
    video = dataclasses.replace(SyntheticOptions(frames=150), **kind)
    truths = [synthetic_track(toy_model, "toy68", video, seed=seed) for seed in range(3)]
    told = FitOptions(landmark_noise=1 / 89, landmark_bias=bias, keyframe_spacing_s=0.12, expression_smoothness=16.0)
    sequences = [truth.sequence for truth in truths]
    fits = fit_tracks(sequences, toy_model, told)
    z = [accuracy(toy_model, truth, fit).sigma_z for truth, fit in zip(truths, fits, strict=True)]
    assert 0.8 < np.mean(z) < 1.3
    if bias:
        untold = fit_tracks(sequences, toy_model, dataclasses.replace(told, landmark_bias=0.0))
        for fit, other in zip(fits, untold, strict=True):
            assert (fit.expression_sigma > other.expression_sigma).mean() > 0.95
