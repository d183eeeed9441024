"""The landmarks of one face of a video, for a fit without a dataset: found as a build finds them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float64, Int64

from facevid import assets
from fitting.tracks import LandmarkSequence
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions, Scheme
from pipeline.faces.probe import probe
from pipeline.faces.tracks import track_faces

_REPORT_EVERY_S = 5.0
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFace:
    """One face of a video.

    Attributes:
        sequence: Its landmarks, as a build would fit them.
        frame: Number of each frame in the video, from 0.
    """

    sequence: LandmarkSequence
    frame: Int64[np.ndarray, " frames"]


def face_of_video(
    path: Path, *, scheme: str | None, track: int | None, report: Callable[[str], None]
) -> VideoFace:
    """Follow the faces of a video, and choose one.

    Args:
        path: The video.
        scheme: Landmark scheme that the MediaPipe networks give; None is that of a build.
        track: Number of the face track; None takes the one that fills most of the pictures, over all of its frames.
        report: Receives progress lines, and which tracks there are.

    Raises:
        ValueError: The scheme is not the networks', or there is no such track.
        FileNotFoundError: There is no such file.
        VideoError: It is no video that can be read, or shows no face for long enough.
        AssetError: The networks are not there and cannot be fetched.
    """
    info = probe(path)
    options = _options(scheme)
    detector = open_detector(options, assets.fetch_landmark_networks())
    frames = info.duration_s * info.fps if info.duration_s and info.fps else None
    found = track_faces(path, detector, options, on_frame=_told_now_and_then(frames, report)).tracks
    chosen = _largest(found) if track is None else track
    if not 0 <= chosen < len(found):
        raise ValueError(f"track={track}: {path.name} has the face tracks {_named(found)}")
    if len(found) > 1:
        other = "; another one by --track" if track is None else ""
        report(f"{len(found)} face tracks: {_named(found)}. Track {chosen} is fitted{other}")
    face = found[chosen]
    points = face.observed_px.shape[1]
    return VideoFace(
        sequence=LandmarkSequence(
            scheme=face.scheme,
            observed_px=face.observed_px,
            smoothed_px=face.smoothed_px,
            weight=np.repeat(face.confidence[:, None], points, axis=1),
            pts_s=face.pts_s,
            picture_px=(info.width_px, info.height_px),
        ),
        frame=face.frame.astype(np.int64),
    )


def _options(scheme: str | None) -> FacesOptions:
    for known in get_args(Scheme):
        if known == (scheme or FacesOptions().scheme) and known != "ibug68":
            return FacesOptions(scheme=known, crops=False)
    raise ValueError(
        f"scheme={scheme!r}: in a video mediapipe68 and mediapipe_dense are found; for ibug68, build a dataset with "
        "--detector face_alignment"
    )


def _largest(tracks: Sequence[LandmarkTrack]) -> int:
    return max(range(len(tracks)), key=lambda number: float(_size_px(tracks[number]).sum()))


def _size_px(track: LandmarkTrack) -> Float64[np.ndarray, " frames"]:
    return np.asarray((track.box_px[:, 2:] - track.box_px[:, :2]).astype(np.float64).mean(axis=1))


def _named(tracks: Sequence[LandmarkTrack]) -> str:
    some = [
        f"{number} ({track.pts_s[0]:.1f} to {track.pts_s[-1]:.1f} s, {np.median(_size_px(track)):.0f} px)"
        for number, track in enumerate(tracks[:_MOST_NAMED])
    ]
    return ", ".join(some) + (f" and {len(tracks) - _MOST_NAMED} more" if len(tracks) > _MOST_NAMED else "")


def _told_now_and_then(frames: float | None, report: Callable[[str], None]) -> Callable[[float], None]:
    begun_s = told_s = time.monotonic()
    done = 0

    def on_frame(_: float) -> None:
        nonlocal told_s, done
        done += 1
        now_s = time.monotonic()
        if now_s - told_s < _REPORT_EVERY_S:
            return
        told_s = now_s
        rate = done / (now_s - begun_s)
        left = f", about {max(frames - done, 0) / rate:.0f} s left" if frames is not None else ""
        of = f" of about {frames:.0f}" if frames is not None else ""
        report(f"faces: {done}{of} frames, {rate:.0f}/s{left}")

    return on_frame
