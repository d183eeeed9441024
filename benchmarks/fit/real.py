"""Real videos, where no truth is known: points held out, the identity of halves, jitter; beside the baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from benchmarks.fit.settings import ALL, default_options
from facevid import assets
from fitting.face_model import FaceModel
from fitting.metrics import aligned_distance, expression_jitter_mm
from fitting.options import FitMethod, FitOptions
from fitting.solver import fit_tracks
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.faces.errors import VideoError
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions, Scheme
from pipeline.faces.tracks import track_faces

SCHEME: Scheme = "mediapipe68"
SUFFIXES = {".mp4", ".mov", ".webm", ".mkv"}
OTHER_OPTIONS = {
    "the defaults": FitOptions(),
    "expression_smoothness 16": FitOptions(expression_smoothness=16.0),
    "keyframe_spacing_s 0.12": FitOptions(keyframe_spacing_s=0.12),
    "no second_pass": FitOptions(second_pass=False),
    "box_sd None": FitOptions(box_sd=None),
}
"""What the help texts of `fitting.options` say of real videos is measured with these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRow:
    """One method on all videos.

    Attributes:
        holdout_percent: Median over frames of the error on points that the fit did not see, of each video.
        reprojection_percent: The same on those that it saw.
        jitter_mm: RMS second difference of the expression displacements, real motion among it.
        motion_mm: RMS of the expression displacements about their mean: smoothing that flattens shows here.
        within_mm: Distance of the identities of a video's first and second half.
        between_mm: Distance of first halves from other videos' second halves, mean over these.
        recognised: Share of first halves whose nearest second half is of the same video.
    """

    holdout_percent: Float64[np.ndarray, " videos"]
    reprojection_percent: Float64[np.ndarray, " videos"]
    jitter_mm: Float64[np.ndarray, " videos"]
    motion_mm: Float64[np.ndarray, " videos"]
    within_mm: Float64[np.ndarray, " videos"]
    between_mm: Float64[np.ndarray, " videos"]
    recognised: float


def landmark_tracks(folder: Path, advance: Callable[[int], None]) -> dict[str, LandmarkSequence]:
    """The longest face track of each video in a folder, by file name; videos without a face have none."""
    options = FacesOptions(scheme=SCHEME, crops=False)
    detector = open_detector(options, assets.fetch_landmark_networks())
    sequences = {}
    for path in video_files(folder):
        try:
            tracks = track_faces(path, detector, options).tracks
        except VideoError:
            tracks = ()
        if tracks:
            track = max(tracks, key=lambda one: len(one.frame))
            sequences[path.name] = LandmarkSequence(
                scheme=track.scheme,
                observed_px=track.observed_px,
                smoothed_px=track.smoothed_px,
                weight=np.repeat(track.confidence[:, None], track.observed_px.shape[1], axis=1),
                pts_s=track.pts_s,
            )
        advance(1)
    return sequences


def video_files(folder: Path) -> list[Path]:
    """The videos of a folder."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def measure(model: FaceModel, sequences: Sequence[LandmarkSequence], method: FitMethod) -> RealRow:
    """Fit all videos, and their halves, with one method and otherwise the default options."""
    options = default_options(method)
    whole = fit_tracks(sequences, model, options)
    halves = [_cut(sequence, second=second) for second in (False, True) for sequence in sequences]
    fits = fit_tracks(halves, model, options)
    faces = [_face(model, fit) for fit in fits]
    count = len(sequences)
    distance = np.array(
        [[aligned_distance(one, other, scaled=True).mean() for other in faces[count:]] for one in faces[:count]]
    )
    own = np.diagonal(distance)
    between = (distance.sum(axis=1) - own) / (count - 1) if count > 1 else np.full(count, np.nan)
    return RealRow(
        holdout_percent=100 * np.array([fit.holdout_error for fit in whole]),
        reprojection_percent=100 * np.array([np.median(fit.reprojection_error) for fit in whole], np.float64),
        jitter_mm=np.array([expression_jitter_mm(model, fit.expression) for fit in whole]),
        motion_mm=np.array([_motion_mm(model, fit) for fit in whole]),
        within_mm=own.copy(),
        between_mm=between,
        recognised=float((distance.argmin(axis=1) == np.arange(count)).mean()),
    )


def measure_all(
    model: FaceModel, sequences: Sequence[LandmarkSequence], advance: Callable[[int], None]
) -> dict[str, RealRow]:
    """All methods."""
    rows: dict[str, RealRow] = {}
    for method in ALL:
        rows[method] = measure(model, sequences, method)
        advance(len(sequences))
    return rows


def measure_options(
    model: FaceModel, sequences: Sequence[LandmarkSequence], advance: Callable[[int], None]
) -> dict[str, list[FittedTrack]]:
    """All videos fitted with each of `OTHER_OPTIONS`."""
    fits = {}
    for name, options in OTHER_OPTIONS.items():
        fits[name] = fit_tracks(sequences, model, options)
        advance(len(sequences))
    return fits


def print_options(fits: dict[str, list[FittedTrack]]) -> None:
    """The hold-out error by options, and the largest coefficient."""
    usual = np.array([fit.holdout_error for fit in fits["the defaults"]])
    print(f"\n{'other options':28}{'hold-out %':>12}{'larger in':>12}{'largest coefficient, sd':>26}")
    for name, tracks in fits.items():
        errors = np.array([fit.holdout_error for fit in tracks])
        largest_sd = max(float(np.abs(fit.expression).max()) for fit in tracks)
        larger = f"{(errors > usual).sum()} of {len(usual)}"
        print(f"{name:28}{100 * errors.mean():12.3f}{larger:>12}{largest_sd:26.2f}")


def print_real(names: Sequence[str], rows: dict[str, RealRow]) -> None:
    """A table of means over videos, and one of the hold-out error by video."""
    print(f"\n{len(names)} real videos, default options; percent of the outer-eye distance, medians over frames")
    print(f"{'':14}{'hold-out %':>12}{'seen %':>10}{'jitter mm':>12}{'motion mm':>12}{'same video mm':>16}"
          f"{'other video mm':>16}{'ratio':>8}{'recognised':>12}")  # fmt: skip
    for method, row in rows.items():
        within, between = row.within_mm.mean(), row.between_mm.mean()
        print(f"{method:14}{row.holdout_percent.mean():12.3f}{row.reprojection_percent.mean():10.3f}"
              f"{row.jitter_mm.mean():12.3f}{row.motion_mm.mean():12.3f}{within:16.3f}{between:16.3f}"
              f"{between / within:8.2f}{row.recognised:12.0%}")  # fmt: skip
    print("same video, other video: distance of identities found from first and second halves")
    print(f"\nhold-out %{'':20}" + "".join(f"{method:>14}" for method in rows))
    for number, name in enumerate(names):
        print(f"{name:30}" + "".join(f"{row.holdout_percent[number]:14.3f}" for row in rows.values()))


def _cut(sequence: LandmarkSequence, *, second: bool) -> LandmarkSequence:
    middle = len(sequence.pts_s) // 2
    part = slice(middle, None) if second else slice(None, middle)
    return LandmarkSequence(
        scheme=sequence.scheme,
        observed_px=sequence.observed_px[part],
        smoothed_px=sequence.smoothed_px[part],
        weight=sequence.weight[part],
        pts_s=sequence.pts_s[part],
    )


def _face(model: FaceModel, fit: FittedTrack) -> Float64[np.ndarray, "vertices 3"]:
    return np.asarray(model.mean_mm + np.tensordot(fit.identity, model.identity_basis_mm, 1), dtype=np.float64)


def _motion_mm(model: FaceModel, fit: FittedTrack) -> float:
    basis = model.expression_basis_mm.reshape(model.n_expression, -1).astype(np.float64)
    about = fit.expression.astype(np.float64) - fit.expression.mean(axis=0)
    return float(np.sqrt(np.einsum("fn,nm,fm->f", about, basis @ basis.T, about).mean() / len(model.mean_mm)))
