"""Learns a detector's errors, and what faces do, from many fitted tracks: EM, a few rounds of it around the fit.

See `fitting.calibration_em` for the model. What few faces cannot say is left near where it was: see `Shrinkage`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from fitting.calibration import DetectorCalibration, check_calibration
from fitting.calibration_em import Corpus, Moments, moments
from fitting.evidence import evidence_ratio
from fitting.expression_prior import mirrored_expression, with_expression_prior
from fitting.face_model import OUTER_EYE_POINTS, FaceModel
from fitting.landmark_basis import landmark_fields
from fitting.linear_track import LinearTrack, linearised
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.tracks import FittedTrack, LandmarkSequence

FEWEST_FACES = 3
ROUNDS = 2
"""Fits, each with what EM made of the one before."""
ITERATIONS = 6
GUESSED = 1.5
"""Landmarks of a higher `evidence_ratio` have no noise of their own: they get that many times the mean of the rest."""
_MIRRORED_WITHIN_MM = 3.0
_SANE_VARIANCE = (1e-3, 400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinkage:
    """What is believed before any data, and how much data it is worth."""

    offset_mm: float = 1.0
    """Standard deviation of a landmark's mean offset."""
    corpus_faces: float = 2.0
    """The mean squared noise and bias of all landmarks count as if this many faces had shown the options' own."""
    landmark_faces: float = 4.0
    """Those of one landmark count as if this many faces had shown the mean of all landmarks."""
    expression_frames: float = 56.0
    """The expression's mean and covariance count as if this many frames had shown the model's own, 0 and 1."""
    frames_per_face: float = 8.0
    """A track counts as this many independent frames of expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a corpus taught.

    Attributes:
        model: The model with the calibration of the scheme, and the expression prior if it was asked for.
        calibration: The calibration.
        expression_mean: Of the expression, in the standard deviations of the model that came in.
        expression_covariance: The same.
        faces: Tracks that were fitted well enough to learn from.
    """

    model: FaceModel
    calibration: DetectorCalibration
    expression_mean: Float64[np.ndarray, " n_expression"]
    expression_covariance: Float64[np.ndarray, "n_expression n_expression"]
    faces: int


def calibrate(
    sequences: Sequence[LandmarkSequence],
    model: FaceModel,
    options: FitOptions,
    *,
    expression_prior: bool,
    shrinkage: Shrinkage | None = None,
    evidence: Float64[np.ndarray, " points"] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Learnt:
    """Learn the errors of the detector that made some tracks, and the mean and covariance of their expressions.

    Args:
        sequences: One track per face, of one scheme: two of the same face would count its peculiarities as common.
        model: Face model. Its own calibration of the scheme is set aside.
        options: The fit's. Noise and bias are learnt as multiples of its `landmark_noise` and `landmark_bias`.
        expression_prior: Whether the returned model's unit of expression becomes what the corpus showed.
        shrinkage: See there.
        evidence: Noise given to each landmark beside its own, see `fitting.evidence`; None takes that rule.
        progress: Called with tracks done and tracks to do.

    Raises:
        ValueError: Too few tracks can be fitted, or what comes out cannot be meant.
    """
    if options.landmark_bias <= 0:
        raise ValueError(f"landmark_bias={options.landmark_bias}: a bias is learnt as a multiple of it; give it a size")
    if len(sequences) < FEWEST_FACES:
        raise ValueError(f"{len(sequences)} tracks are too few to calibrate from; at least {FEWEST_FACES} are needed")
    scheme = sequences[0].scheme
    bare = replace(model, calibrations={s: known for s, known in model.calibrations.items() if s != scheme})
    belief = shrinkage or Shrinkage()
    mean = landmark_fields(bare, scheme)[0]
    counts = evidence_ratio(mean) if evidence is None else evidence
    learner = _Learner(model=bare, scheme=scheme, options=options, belief=belief, evidence=counts)
    corpus, faces, done = learner.start(), 0, 0
    for _ in range(ROUNDS):
        fits = fit_tracks(sequences, learner.calibrated(corpus, max(faces, 1)), options)
        tracks = learner.linearised(sequences, fits)
        faces = len(tracks)
        if faces < max(FEWEST_FACES, len(sequences) / 2):
            raise ValueError(f"only {faces} of {len(sequences)} tracks can be fitted; is their scheme {scheme!r}?")
        for _ in range(ITERATIONS):
            expected = []
            for track in tracks:
                expected.append(moments(track, corpus))
                done += 1
                if progress is not None:
                    progress(done, ROUNDS * ITERATIONS * len(sequences))
            corpus = learner.maximised(corpus, expected)
    values = np.linalg.eigvalsh(corpus.expression_covariance)
    if not (values[0] > _SANE_VARIANCE[0] and values[-1] < _SANE_VARIANCE[1]):
        raise ValueError(f"expressions of variance {values[0]:.3g} to {values[-1]:.3g} were learnt: no face has them")
    result = learner.calibrated(corpus, faces)
    calibration = result.calibrations[scheme]
    check_calibration(calibration)
    if expression_prior:
        result = with_expression_prior(result, corpus.expression_mean, corpus.expression_covariance)
    return Learnt(
        model=replace(result, name=f"{model.name.removesuffix('-calibrated')}-calibrated", sha256=""),
        calibration=calibration,
        expression_mean=corpus.expression_mean,
        expression_covariance=corpus.expression_covariance,
        faces=faces,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learner:
    model: FaceModel
    scheme: str
    options: FitOptions
    belief: Shrinkage
    evidence: Float64[np.ndarray, " points"]

    def start(self) -> Corpus:
        """What is believed before any data."""
        noise, bias = self._own_mm()
        n_expression = self.model.n_expression
        return Corpus(
            offset_mm=np.zeros((len(self.evidence), 3)),
            bias_mm=bias * self.evidence,
            noise_mm=noise * self.evidence,
            expression_mean=np.zeros(n_expression),
            expression_covariance=np.eye(n_expression),
        )

    def calibrated(self, corpus: Corpus, faces: int) -> FaceModel:
        """The model with what EM says of the detector."""
        noise, bias = self._own_mm()
        known = DetectorCalibration(
            offset_mm=corpus.offset_mm.astype(np.float32),
            noise_ratio=(corpus.noise_mm / noise).astype(np.float32),
            bias_ratio=(corpus.bias_mm / bias).astype(np.float32),
            faces=faces,
        )
        return replace(self.model, calibrations=dict(self.model.calibrations) | {self.scheme: known})

    def linearised(self, sequences: Sequence[LandmarkSequence], fits: Sequence[FittedTrack]) -> list[LinearTrack]:
        """The tracks that could be fitted, about their fits."""
        noise, _ = self._own_mm()
        pairs = zip(sequences, fits, strict=True)
        return [linearised(s, fit, self.model, noise_mm=noise) for s, fit in pairs if fit.status != "diverged"]

    def maximised(self, corpus: Corpus, expected: Sequence[Moments]) -> Corpus:
        """The M-step, with the pseudo-data of `Shrinkage`."""
        belief, faces = self.belief, len(expected)
        noise, bias = self._own_mm()
        displaced = np.array([one.displaced_mm for one in expected])
        spread = (corpus.bias_mm / belief.offset_mm) ** 2
        offset = displaced.sum(axis=0) / (faces + spread)[:, None]
        peculiar = ((displaced - offset) ** 2).mean(axis=(0, 2))
        peculiar += np.mean([one.displaced_variance for one in expected], axis=0)
        # Of the two axes' variances the geometric mean: what the model cannot follow along one of them (lids sliding
        # sideways with gaze) must not hide what is well seen along the other.
        squared = np.sqrt(np.prod(np.mean([one.squared_residual for one in expected], axis=0), axis=-1))
        weight, frames = belief.frames_per_face, belief.expression_frames
        total = faces * weight + frames
        mean = sum((one.expression for one in expected), np.zeros(len(corpus.expression_mean))) * weight / total
        square = frames * np.eye(len(mean))
        for one in expected:
            across = np.outer(one.expression, mean)
            square += weight * (one.expression_square - across - across.T + np.outer(mean, mean))
        return self._symmetric(
            Corpus(
                offset_mm=offset,
                bias_mm=self._shrunk(peculiar / self.evidence**2, bias**2, faces) ** 0.5 * self.evidence,
                noise_mm=self._shrunk(squared, noise**2, faces) ** 0.5 * self.evidence,
                expression_mean=mean,
                expression_covariance=square / total,
            )
        )

    def _own_mm(self) -> tuple[float, float]:
        """Noise and bias of the options on this model."""
        points = landmark_fields(self.model, self.scheme)[0]
        outer_eye = float(np.linalg.norm(np.subtract(*points[list(OUTER_EYE_POINTS)])))
        return self.options.landmark_noise * outer_eye, self.options.landmark_bias * outer_eye

    def _shrunk(
        self, squared: Float64[np.ndarray, " points"], own: float, faces: int
    ) -> Float64[np.ndarray, " points"]:
        guessed = self.evidence > GUESSED
        corpus, pseudo = self.belief.corpus_faces, self.belief.landmark_faces
        level = (faces * squared[~guessed].mean() + corpus * own) / (faces + corpus)
        # What the fit hardly follows looks noisy for that alone, and would be followed less still.
        return np.asarray(np.where(guessed, level, (faces * squared + pseudo * level) / (faces + pseudo)))

    def _symmetric(self, corpus: Corpus) -> Corpus:
        """Left and right alike, where the model is: it halves what chance can do."""
        operator = mirrored_expression(self.model)
        points = landmark_fields(self.model, self.scheme)[0]
        flip = np.array([-1.0, 1.0, 1.0])
        distance = np.linalg.norm(points[:, None] * flip - points, axis=-1)
        partner = distance.argmin(axis=1)
        paired = (partner[partner] == np.arange(len(points))).all() and distance.min(axis=1).max() < _MIRRORED_WITHIN_MM
        if operator is None or not paired:
            return corpus
        turned = operator @ corpus.expression_covariance @ operator.T
        return Corpus(
            offset_mm=(corpus.offset_mm + corpus.offset_mm[partner] * flip) / 2,
            bias_mm=np.sqrt((corpus.bias_mm**2 + corpus.bias_mm[partner] ** 2) / 2),
            noise_mm=np.sqrt((corpus.noise_mm**2 + corpus.noise_mm[partner] ** 2) / 2),
            expression_mean=(corpus.expression_mean + operator @ corpus.expression_mean) / 2,
            expression_covariance=(corpus.expression_covariance + turned) / 2,
        )
