"""Our fit beside eos and Adam: errors and processor time on the same landmarks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.fit.accuracy import fitted
from benchmarks.fit.adam_peer import fit_adam
from benchmarks.fit.eos_peer import EosModel
from benchmarks.fit.settings import SCHEME, Setting
from fitting.baselines.fit import first_guess
from fitting.face_model import FaceModel
from fitting.landmark_basis import landmark_basis
from fitting.metrics import FitAccuracy, accuracy, aligned_distance
from fitting.preparation import prepare
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticTrack
from fitting.tracks import LandmarkSequence

FRAMES_OF_A_VIDEO = (50, 150, 250)
EOS_ITERATIONS = (5, 30)
EOS_PRIORS = {"eos' default prior 30": 30.0, "prior 3": 3.0, "told the true noise": 1 / 3}
EOS_GOAL_PRIOR = "prior 3"
"""The prior for which the goal beside eos is stated."""
ADAM_STEPS = (200, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleFrames:
    """Errors of fits of single frames, each frame one number, and processor time per frame."""

    identity_mm: Float64[np.ndarray, " frames"]
    expression_mm: Float64[np.ndarray, " frames"]
    ms: float


def single_frames(
    model: FaceModel, setting: Setting, truths: Sequence[SyntheticTrack], advance: Callable[[int], None]
) -> dict[str, SingleFrames]:
    """eos at some numbers of iterations and priors, and ours, on three frames of each video."""
    chosen = [(truth, frame) for truth in truths for frame in FRAMES_OF_A_VIDEO]
    peer = EosModel(model, SCHEME)
    pictures = [truth.sequence.observed_px[frame].astype(np.float64) for truth, frame in chosen]
    rows = {}
    for iterations in EOS_ITERATIONS:
        for name, prior in EOS_PRIORS.items():
            fit = peer.fit(pictures, iterations=iterations, prior=prior)
            label = f"eos, {iterations} iterations, {name}"
            rows[label] = _single(model, chosen, fit.identity, fit.expression, fit.cpu_s)
            advance(len(truths))
    for method in ("single_frame", "two_stage"):
        tracks = fit_tracks([_one(truth, frame) for truth, frame in chosen], model, setting.options(method))
        identities = np.array([track.identity for track in tracks], np.float64)
        expressions = np.array([track.expression[0] for track in tracks], np.float64)
        rows[method] = _single(model, chosen, identities, expressions, float("nan"))
        advance(len(truths))
    return rows


def adam(
    model: FaceModel, setting: Setting, truths: Sequence[SyntheticTrack], *, steps: int, advance: Callable[[int], None]
) -> tuple[list[FitAccuracy], float]:
    """Adam's errors on whole videos, and its processor time per frame, ms."""
    basis = landmark_basis(model, SCHEME, device="cpu")
    options = setting.options()
    rows, cpu_s = [], 0.0
    for truth in truths:
        (prepared,) = prepare([truth.sequence], basis, options)
        assert prepared is not None, "a synthetic video can be prepared"
        problem, first = first_guess(prepared, basis, np.arange(truth.sequence.weight.shape[1]))
        fit = fit_adam(problem, first, steps=steps, smoothness=options.expression_smoothness)
        cpu_s += fit.cpu_s
        rows.append(accuracy(model, truth, fitted(fit.parameters, basis, prepared)))
        advance(1)
    return rows, 1e3 * cpu_s / sum(len(truth.expression) for truth in truths)


def _one(truth: SyntheticTrack, frame: int) -> LandmarkSequence:
    one, sequence = slice(frame, frame + 1), truth.sequence
    return LandmarkSequence(
        scheme=sequence.scheme,
        observed_px=sequence.observed_px[one],
        smoothed_px=sequence.smoothed_px[one],
        weight=sequence.weight[one],
        pts_s=sequence.pts_s[one],
    )


def _single(
    model: FaceModel,
    chosen: Sequence[tuple[SyntheticTrack, int]],
    identities: Float64[np.ndarray, "frames n_identity"],
    expressions: Float64[np.ndarray, "frames n_expression"],
    cpu_s: float,
) -> SingleFrames:
    mean = model.mean_mm.astype(np.float64)
    shapes = model.identity_basis_mm.reshape(model.n_identity, -1).astype(np.float64)
    motions = model.expression_basis_mm.reshape(model.n_expression, -1).astype(np.float64)
    identity_mm, expression_mm = [], []
    for (truth, frame), identity, expression in zip(chosen, identities, expressions, strict=True):
        face, true = (mean + (row @ shapes).reshape(-1, 3) for row in (identity, truth.identity))
        identity_mm.append(aligned_distance(face, true, scaled=True).mean())
        moved = ((expression - truth.expression[frame]) @ motions).reshape(-1, 3)
        expression_mm.append(np.linalg.norm(moved, axis=1).mean())
    return SingleFrames(
        identity_mm=np.array(identity_mm), expression_mm=np.array(expression_mm), ms=1e3 * cpu_s / len(chosen)
    )
