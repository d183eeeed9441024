"""From a video's frames to face tracks: every face, or the first, and never two people or two shots in one track.

Frames never leave `track_faces`: what comes out is landmarks, and crops that go to a sink as they are made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pipeline.faces.ahead import BatchedDetector, LookAhead
from pipeline.faces.crop_times import CropTimes
from pipeline.faces.crops import CropSink
from pipeline.faces.dissolves import Transition
from pipeline.faces.errors import NoFaceError, TrackTooShortError
from pipeline.faces.follow import FaceFollower, Seen
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import LandmarkDetector
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.occlusion import OcclusionSampler
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import VideoInfo
from pipeline.faces.recorder import ShortTrack, TrackRecorder
from pipeline.faces.shot_frames import ShotFrame, ShotFrames
from pipeline.faces.video import open_video

FALSE_ALARM_FRAMES = 2
"""What is seen for no longer is taken for the detector's mistake where a video shows nothing else, as a shadow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeconds:
    """Wall time of each stage, seconds: waiting for decoded frames, cuts, faces, landmarks, crops, smoothing."""

    decode: float
    shots: float
    detect: float
    landmarks: float
    crops: float
    smooth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FacesResult:
    """What one video gave.

    Attributes:
        video: What the file says about itself.
        frames_read: Frames decoded.
        damaged_frames: How many of them the decoder found damaged or had to leave out.
        tracks: Face tracks of at least `FacesOptions.min_track_s`, in the order in which they had lasted that long; a
            track's number is its place.
        short_tracks: Tracks that were shorter, and are left out.
        person_changes_s: When a track was ended because another face had taken its place within a shot.
        transitions: From one shot to the next, in order of their ends.
        seconds: Wall time of each stage.
    """

    video: VideoInfo
    frames_read: int
    damaged_frames: int
    tracks: tuple[LandmarkTrack, ...]
    short_tracks: tuple[ShortTrack, ...]
    person_changes_s: tuple[float, ...]
    transitions: tuple[Transition, ...]
    seconds: StageSeconds


class _Look(NamedTuple):
    seen: Seen
    occlusion: dict[int, float]


def track_faces(
    path: Path,
    detector: LandmarkDetector,
    options: FacesOptions,
    crops: CropSink | None = None,
    on_frame: Callable[[float], None] | None = None,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    limits: DecodeLimits | None = None,
) -> FacesResult:
    """Follow faces through a video.

    A track lasts from its first to its last frame in which the face was found; it never crosses a cut. Memory does
    not grow with the pictures, only with the landmarks.

    Args:
        path: A local video file.
        detector: Finds faces and landmarks.
        options: See there. `crops` and `jpeg_quality` apply where a sink is given.
        crops: Takes the registered crops. What it took is worthless if this function raises.
        on_frame: Called with the time of each frame as soon as it is decoded, as a sign of life.
        start_s: Where to begin on the file's clock, seconds; frames count from there. None for the beginning.
        end_s: Where to end; the frame of this very time is left out. None for the end.
        limits: What the video may cost; the defaults where none are given.

    Raises:
        ValueError: The detector gives other landmarks than the options ask for, or the times are none.
        FileNotFoundError: There is no such file.
        NoFaceError: No face in any frame, or never for more than `FALSE_ALARM_FRAMES`.
        TrackTooShortError: None for long enough.
        VideoError: The file is damaged, no video, or has no video stream.
    """
    if detector.scheme != options.scheme:
        raise ValueError(f"detector gives scheme={detector.scheme!r}, but options.scheme={options.scheme!r}")
    ahead = LookAhead(detector, options) if isinstance(detector, BatchedDetector) else None
    follow = FaceFollower(ahead or detector, options)
    occlusion = OcclusionSampler(detector)
    recorder, crop_times = TrackRecorder(options, crops), CropTimes(options.crops_per_s)
    transitions: list[Transition] = []
    frames_read = 0
    with open_video(
        path, start_s=start_s, end_s=end_s, height_px=options.height_px, fps=options.fps, limits=limits
    ) as video:
        shot_frames = ShotFrames(video, on_frame)
        for block in _looked_ahead(shot_frames, ahead) if ahead else shot_frames:
            # Each for all of a block: faces, then their lids and crops. What one of them needs stays in the caches.
            looks = [_look(shot_frame, follow, occlusion) for shot_frame in block]
            complete = follow.with_lids([
                (shot_frame.frame.picture, look.seen) for shot_frame, look in zip(block, looks, strict=True)
            ])
            keeps = [crop_times.keeps(shot_frame.frame.pts_s) for shot_frame in block]
            faces = [
                (shot_frame.frame, face)
                for shot_frame, seen in zip(block, complete, strict=True)
                for face in seen.found.values()
            ]
            kept = [keep for keep, seen in zip(keeps, complete, strict=True) for _ in seen.found]
            crops_made = iter(recorder.crops_of(faces, kept))
            for shot_frame, look, seen in zip(block, looks, complete, strict=True):
                frame = shot_frame.frame
                for number, face in seen.found.items():
                    recorder.add(number, frame, face, next(crops_made), occlusion=look.occlusion[number])
                for number in seen.missed:
                    recorder.miss(number, frame)
                for number in seen.stopped:
                    recorder.stop(number)
                for transition in shot_frame.settled:
                    recorder.separate(transition)
                transitions += shot_frame.settled
                recorder.settle(shot_frame.settled_before)
                frames_read = frame.index + 1
    for transition in (settled := shot_frames.finish()):
        recorder.separate(transition)
    recorder.finish()
    if not recorder.tracks:
        seen_frames = max((short.frames for short in recorder.short), default=0)
        error = TrackTooShortError if seen_frames > FALSE_ALARM_FRAMES else NoFaceError
        raise error(_why_none(path, frames_read, recorder.short, options))
    return FacesResult(
        video=video.info,
        frames_read=frames_read,
        damaged_frames=video.damaged_frames,
        tracks=recorder.tracks,
        short_tracks=tuple(recorder.short),
        person_changes_s=tuple(recorder.leaps_s),
        transitions=tuple(sorted(transitions + settled, key=lambda transition: transition.end)),
        seconds=StageSeconds(
            decode=shot_frames.decode_s,
            shots=shot_frames.shots_s,
            detect=follow.seconds.detect + (ahead.seconds.detect if ahead else 0.0),
            landmarks=follow.seconds.landmarks + occlusion.seconds + (ahead.seconds.landmarks if ahead else 0.0),
            crops=recorder.crops_s,
            smooth=recorder.smooth_s,
        ),
    )


def _looked_ahead(blocks: Iterable[list[ShotFrame]], ahead: LookAhead) -> Iterator[list[ShotFrame]]:
    for frame in ahead.frames(chain.from_iterable(blocks)):
        yield [frame]


def _look(shot_frame: ShotFrame, follow: FaceFollower, occlusion: OcclusionSampler) -> _Look:
    frame = shot_frame.frame
    seen = follow.find(frame.picture, looks_new=shot_frame.looks_new)
    asked = {number: occlusion(number, frame.index, frame.picture, face) for number, face in seen.found.items()}
    return _Look(seen, asked)


def _why_none(path: Path, frames: int, short: Sequence[ShortTrack], options: FacesOptions) -> str:
    if not short:
        return f"{path.name} shows no face in any of its {frames} frames"
    seen_frames = max(each.frames for each in short)
    if seen_frames <= FALSE_ALARM_FRAMES:
        return (
            f"{path.name} shows no face in its {frames} frames: something was taken for one in at most "
            f"{seen_frames} frames at a time"
        )
    return (
        f"{path.name} shows no face for long enough: the longest of {len(short)} tracks lasts "
        f"{max(each.end_s - each.start_s for each in short):.2f} s, but min_track_s is {options.min_track_s:g}"
    )
