"""From a landmarks file to a saved fit: what `facevid fit` does."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from fitting.face_model import DEFAULT_MODEL_PATH, FaceModel, load_face_model
from fitting.landmark_checks import check_picture, check_pixels, check_points, pixels_of_shares, size_of_picture
from fitting.landmark_file import LandmarkFile, read_landmarks
from fitting.landmark_video import LandmarkVideo
from fitting.options import FitOptions
from fitting.saved_fit import SavedFit, write_fit
from fitting.solver import fit_tracks
from fitting.tracks import LandmarkSequence

_REPORT_EVERY_S = 5.0
_ALWAYS_TOLD = ("method", "camera", "contour")
"""Choices that are told even where they are the usual ones."""


def fit_file(
    landmarks: str | Path,
    out: str | Path,
    *,
    model_path: str | Path = DEFAULT_MODEL_PATH,
    scheme: str | None = None,
    fps: float | None = None,
    picture_px: tuple[int, int] | None = None,
    frame: int | None = None,
    video: LandmarkVideo | None = None,
    normalised: bool = False,
    options: FitOptions | None = None,
    report: Callable[[str], None] | None = None,
) -> SavedFit:
    """Fit the face of a landmarks file (formats: `fitting.landmark_file`) and write the fit.

    Args:
        landmarks: A `.npz` or `.csv` file.
        out: The `.npz` file of the fit; replaced if it is there.
        model_path: Face model file.
        scheme: Landmark scheme; None takes the one that the file names.
        fps: Frames per second, where the file has neither times nor a rate; None takes the times of the video's
            frames, which is decoded for them, or where there is no video 30.
        picture_px: Width and height of the picture, where neither the file nor the video says; a perspective camera
            needs them.
        frame: Number of a frame that will be asked for: the file must have it.
        video: The video that the landmarks were found in: the file must have one of its frames.
        normalised: The landmarks are shares of the picture's width and height, as MediaPipe gives them, not pixels.
        options: Choices of the fit; None is `FitOptions()`.
        report: Takes lines that tell what was read and how it went.

    Returns:
        The fit that was written.

    Raises:
        ValueError: A mistake in the file or an argument, or landmarks that fit no face; nothing is written then.
        OSError: A file cannot be read or written.
    """
    landmarks, out = Path(landmarks), Path(out)
    if out.suffix.lower() != ".npz":
        raise ValueError(f"out={str(out)!r} must end in .npz")
    if out.resolve() == landmarks.resolve():
        raise ValueError(f"out={str(out)!r} is the landmarks file itself")
    tell = report or (lambda _line: None)
    model = load_face_model(model_path)
    read = read_landmarks(landmarks, scheme=scheme, fps=fps)
    check_points(landmarks, read, model)
    if frame is not None and frame not in read.frame:
        raise ValueError(f"frame={frame} is not in {landmarks}, whose {len(read.frame)} frames lie between "
                         f"{read.frame[0]} and {read.frame[-1]}")  # fmt: skip
    first_frame = read.first_frame
    if video is not None:
        first_frame = read.first_frame if video.first_frame is None else video.first_frame
        video.check_frames(landmarks, read.frame, first_frame)
    size_px = size_of_picture(landmarks, read.sequence.picture_px, picture_px, video)
    sequence = replace(read.sequence, picture_px=size_px)
    if normalised:
        sequence = pixels_of_shares(landmarks, sequence)
    check_pixels(landmarks, sequence)
    check_picture(landmarks, sequence)
    options = options or FitOptions()
    if options.camera == "perspective" and sequence.picture_px is None:
        raise ValueError(f"camera='perspective' needs the size of the picture, which {landmarks} does not say: give it "
                         "as --picture-px WIDTH HEIGHT (from Python, picture_px=)")  # fmt: skip
    of_video = video is not None and fps is None and read.assumed_fps is not None
    if video is not None and of_video:
        sequence = replace(sequence, pts_s=video.times_s(landmarks, read.frame, first_frame))
    tell(_what_was_read(read, sequence, of_video=of_video))
    return fit_sequence(
        landmarks, out, sequence, frame=read.frame, first_frame=first_frame, model=model, options=options, report=tell
    )


def fit_sequence(
    source: Path,
    out: Path,
    sequence: LandmarkSequence,
    *,
    frame: Int64[np.ndarray, " frames"],
    first_frame: int = 0,
    model: FaceModel,
    options: FitOptions,
    report: Callable[[str], None],
) -> SavedFit:
    """Fit landmarks and write the fit.

    Args:
        source: The file that they come from, for messages.
        out: The `.npz` file of the fit; replaced if it is there.
        sequence: The landmarks.
        frame: Number of each of their frames.
        first_frame: What `frame` calls the first frame of their video.
        model: Face model.
        options: Choices of the fit.
        report: Takes lines that tell how it went.

    Raises:
        ValueError: No face fits them; nothing is written then.
        OSError: The fit cannot be written.
    """
    track = fit_tracks([sequence], model, options, progress=_told_now_and_then(len(frame), report))[0]
    if track.status == "diverged":
        raise ValueError(
            f"{source}: no face fits these landmarks. Are they {sequence.scheme}, in its order, in pixels with "
            "x to the right and y down, not mirrored, and are there 6 or more of them in a frame?"
        )
    fit = SavedFit(
        track=track,
        scheme=sequence.scheme,
        frame=frame,
        pts_s=sequence.pts_s,
        face_model=model.name,
        face_model_sha256=model.sha256,
        face_model_licence=model.licence,
        options=asdict(options),
        versions={name: version(name) for name in ("facevid", "numpy", "torch")},
        first_frame=first_frame,
    )
    write_fit(out, fit)
    error = float(np.median(track.reprojection_error[np.isfinite(track.reprojection_error)]))
    report(
        f"{out}: {track.status} after {track.iterations} iterations; median re-projection error {error:.2%} of the "
        f"outer-eye distance, {track.holdout_error:.2%} on points held out; face model {model.name}, {model.licence}"
    )
    changed = [name for name, value in asdict(options).items() if value != getattr(FitOptions(), name)]
    choices = ", ".join(f"{name} {getattr(options, name)}" for name in dict.fromkeys([*_ALWAYS_TOLD, *changed]))
    if focal_px := track.focal_px:
        choices += f"; focal length {focal_px:.0f} px"
    report(
        f"energy {track.energy:.6g}; {choices}; face model sha256 {model.sha256}; "
        + ", ".join(f"{name} {number}" for name, number in fit.versions.items())
    )
    return fit


def _told_now_and_then(frames: int, tell: Callable[[str], None]) -> Callable[[float], None]:
    begun_s = told_s = time.monotonic()

    def progress(share: float) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s < _REPORT_EVERY_S:
            return
        told_s = now_s
        rate = frames * share / (now_s - begun_s)
        left_s = (now_s - begun_s) * (1 - share) / share
        tell(f"fitting: {share:.0%} of {frames} frames done, {rate:.0f}/s, about {left_s:.0f} s left")

    return progress


def _what_was_read(read: LandmarkFile, sequence: LandmarkSequence, *, of_video: bool) -> str:
    frames, points = sequence.weight.shape
    missing = float((sequence.weight == 0).mean())
    lasts_s = float(sequence.pts_s[-1] - sequence.pts_s[0])
    of = "1 frame" if frames == 1 else f"{frames} frames"
    line = f"{of} of {points} {sequence.scheme} landmarks over {lasts_s:.1f} s, {missing:.1%} missing"
    if of_video:
        line += "; no times in the file, taken from the frames of the video"
    elif read.assumed_fps is not None:
        line += f"; no times in the file, taken as {read.assumed_fps:g} frames per second"
    return line
