"""Strips of frames for the report: which frames of a track to show, and tiles with landmarks and mesh."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from facevid.track_arrays import TrackArrays
from fitting.rotation import matrix_from_quaternion
from pipeline.faces.draw import draw_landmarks
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceRegion, look_into
from pipeline.faces.video import VideoFrame
from training.overlay import MeshPainter

TILE_PX = 200
_FACE_SHARE = 1.75
_JPEG_QUALITY = 82
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)
_INNER_LIPS_TOP, _INNER_LIPS_BOTTOM = 62, 66
_SAME_TIME_S = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One frame of a track that is worth showing.

    Attributes:
        index: Index into the track's arrays.
        why: What it shows, for the caption; empty for the ones spread over time.
    """

    index: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A frame as the report shows it.

    Attributes:
        caption: Time and what it shows.
        landmarks: Data URI of the picture with landmarks.
        mesh: Data URI of the picture with the mesh.
    """

    caption: str
    landmarks: str
    mesh: str


def moments(track: TrackArrays, *, spread: int = 6) -> tuple[Moment, ...]:
    """Frames spread over time, and the ones with the most open mouth and the most closed eyes, in order of time.

    The extremes are taken from the landmarks as detected, not from the fit, so that a fit that misses them shows.
    """
    count = len(track.frame)
    # Not the first and last frame, where a face often comes into sight or leaves it.
    places = np.linspace(0, count - 1, spread + 2).round().astype(int)[1:-1] if count > spread else np.arange(count)
    points = track.landmarks_px
    eyes_apart = np.linalg.norm(points[:, 45] - points[:, 36], axis=1) + 1e-6
    mouth = np.linalg.norm(points[:, _INNER_LIPS_BOTTOM] - points[:, _INNER_LIPS_TOP], axis=1) / eyes_apart
    lids = (_opening(points[:, _RIGHT_EYE]) + _opening(points[:, _LEFT_EYE])) / eyes_apart
    why = {int(mouth.argmax()): "mouth most open"}
    closed = int(lids.argmin())
    why[closed] = "eyes most closed" if closed not in why else f"{why[closed]}, eyes most closed"
    # A frame right beside an extreme would show the same once more.
    apart = count / (4 * (spread + 1))
    extremes = list(why)
    why |= {int(place): "" for place in places if all(abs(int(place) - other) > apart for other in extremes)}
    return tuple(Moment(index=index, why=why[index]) for index in sorted(why))


def tile(picture: Picture, track: TrackArrays, moment: Moment, painter: MeshPainter) -> Tile:
    """The face of one frame, with landmarks, and with the mesh as fitted."""
    index = moment.index
    points = track.landmarks_px[index]
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    region = FaceRegion(
        x=float(centre[0]), y=float(centre[1]), side_px=max(8.0, _FACE_SHARE * float((high - low).max())), angle_rad=0.0
    )
    square, to_frame = look_into(picture, region, TILE_PX)
    shrink = 1.0 / float(to_frame[0, 0])
    meshed = painter.draw(
        square,
        identity=track.identity,
        expression=track.expression[index],
        scale_px_per_mm=float(track.scale_px_per_mm[index]) * shrink,
        rotation=matrix_from_quaternion(torch.tensor(track.rotation_wxyz[index])).numpy(),
        translation_px=(track.translation_px[index] - to_frame[:, 2]) * shrink,
        lens=np.array([track.lens[0] / shrink, *(track.lens[1:] - to_frame[:, 2]) * shrink], dtype=np.float32),
    )
    caption = f"{float(track.pts_s[index]):.2f} s" + (f": {moment.why}" if moment.why else "")
    return Tile(
        caption=caption,
        landmarks=_data_uri(draw_landmarks(square, (points - to_frame[:, 2]) * shrink)),
        mesh=_data_uri(meshed),
    )


def tiles(frames: Iterable[VideoFrame], track: TrackArrays, painter: MeshPainter) -> tuple[Tile, ...]:
    """Tiles of a track's moments.

    Args:
        frames: Frames of the video in order; read only as far as needed. They are told by their times: a dataset may
            count the frames of a part of the video, or not all of them.
        track: The track.
        painter: Draws the face model it was fitted with.
    """
    wanted = list(moments(track))
    made = []
    for frame in frames:
        if wanted and frame.pts_s > track.pts_s[wanted[0].index] - _SAME_TIME_S:
            made.append(tile(frame.picture, track, wanted.pop(0), painter))
        if not wanted:
            break
    return tuple(made)


def _opening(eye: Float32[np.ndarray, "frames 6 2"]) -> Float32[np.ndarray, " frames"]:
    upper, lower = eye[:, 1:3].mean(axis=1), eye[:, 4:6].mean(axis=1)
    return np.asarray(np.linalg.norm(upper - lower, axis=1), dtype=np.float32)


def _data_uri(rgb: UInt8[np.ndarray, "height width 3"]) -> str:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
