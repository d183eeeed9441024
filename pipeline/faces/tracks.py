"""From a video's frames to face tracks: follow the first face seen, by the paper's rule.

Frames never leave `track_faces`: what comes out is landmarks, and crops that go to a sink as they are made.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32

from pipeline.faces.crops import CropSink, HeldCrops
from pipeline.faces.errors import NoFaceError, TrackTooShortError
from pipeline.faces.follow import FaceFollower, Step
from pipeline.faces.landmarks import FaceLandmarks, LandmarkDetector
from pipeline.faces.limits import DecodeLimits
from pipeline.faces.motion import smoothed_face
from pipeline.faces.options import FacesOptions
from pipeline.faces.probe import VideoInfo
from pipeline.faces.register import encoded, quality, register
from pipeline.faces.shots import CutDetector
from pipeline.faces.sightings import Sightings
from pipeline.faces.video import VideoFrame, open_video

FALSE_ALARM_FRAMES = 2
"""What is seen for no longer is taken for the detector's mistake where a video shows nothing else, as a shadow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkTrack:
    """One face through consecutive frames of one shot: the arrow from faces to the fit.

    Pixels are those of the displayed picture (rotation and pixel aspect applied), x right, y down,
    (0, 0) the centre of the top-left pixel. Frames in which the face was missed for at most
    `FacesOptions.max_misses` are bridged: box, `observed_px`, sharpness and brightness are interpolated in time
    between the frames before and after, and their confidence is 0.

    Attributes:
        scheme: Landmark scheme.
        frame: Index of each frame in presentation order, consecutive.
        pts_s: Presentation times.
        box_px: Face boxes x0, y0, x1, y1.
        observed_px: Landmarks as detected.
        smoothed_px: Landmarks after the cubic smoothing spline over time.
        confidence: Face presence score, 0 to 1; 0 where the face was missed and bridged.
        sharpness: Variance of the Laplacian of the registered crop's luma (0 to 1), times 1000.
        brightness: Mean luma of the registered crop, 0 to 1.
        in_frame: Share of landmarks inside the picture, 0 to 1.
    """

    scheme: str
    frame: Int32[np.ndarray, " frames"]
    pts_s: Float64[np.ndarray, " frames"]
    box_px: Float32[np.ndarray, "frames 4"]
    observed_px: Float32[np.ndarray, "frames points 2"]
    smoothed_px: Float32[np.ndarray, "frames points 2"]
    confidence: Float32[np.ndarray, " frames"]
    sharpness: Float32[np.ndarray, " frames"]
    brightness: Float32[np.ndarray, " frames"]
    in_frame: Float32[np.ndarray, " frames"]


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
        tracks: Face tracks of at least `FacesOptions.min_track_s`, in order of time; a track's number is its place.
        short_tracks: Tracks that were shorter, and are left out.
        cuts: Indices of the frames with which a new shot begins.
        seconds: Wall time of each stage.
    """

    video: VideoInfo
    frames_read: int
    damaged_frames: int
    tracks: tuple[LandmarkTrack, ...]
    short_tracks: int
    cuts: tuple[int, ...]
    seconds: StageSeconds


def track_faces(
    path: Path,
    detector: LandmarkDetector,
    options: FacesOptions,
    crops: CropSink | None = None,
    on_frame: Callable[[], None] | None = None,
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
        on_frame: Called after each frame, as a sign of life.
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
    follow = FaceFollower(detector, options)
    begins_shot = CutDetector()
    recorder = _Recorder(options, HeldCrops(crops) if crops is not None and options.crops else None)
    cuts: list[int] = []
    decode_s = shots_s = 0.0
    with open_video(
        path, start_s=start_s, end_s=end_s, height_px=options.height_px, fps=options.fps, limits=limits
    ) as video:
        frames = iter(video)
        while True:
            start = time.perf_counter()
            frame = next(frames, None)
            decoded = time.perf_counter()
            decode_s += decoded - start
            if frame is None:
                break
            if begins_shot(frame.picture):
                cuts.append(frame.index)
                recorder.finish()
                follow.reset()
            shots_s += time.perf_counter() - decoded
            step, face = follow(frame.picture)
            if step is Step.STOPPED:
                recorder.finish()
            elif face is not None:
                recorder.add(frame, face)
            elif step is Step.MISSED:
                recorder.miss(frame)
            frames_read = frame.index + 1
            if on_frame is not None:
                on_frame()
    recorder.finish()
    if not recorder.tracks:
        error = TrackTooShortError if recorder.longest_short_frames > FALSE_ALARM_FRAMES else NoFaceError
        raise error(_why_none(path, frames_read, recorder, options))
    return FacesResult(
        video=video.info,
        frames_read=frames_read,
        damaged_frames=video.damaged_frames,
        tracks=tuple(recorder.tracks),
        short_tracks=recorder.short_tracks,
        cuts=tuple(cuts),
        seconds=StageSeconds(
            decode=decode_s,
            shots=shots_s,
            detect=follow.seconds.detect,
            landmarks=follow.seconds.landmarks,
            crops=recorder.crops_s,
            smooth=recorder.smooth_s,
        ),
    )


def _why_none(path: Path, frames: int, recorder: "_Recorder", options: FacesOptions) -> str:
    if not recorder.short_tracks:
        return f"{path.name} shows no face in any of its {frames} frames"
    if recorder.longest_short_frames <= FALSE_ALARM_FRAMES:
        return (
            f"{path.name} shows no face in its {frames} frames: something was taken for one in at most "
            f"{recorder.longest_short_frames} frames at a time"
        )
    return (
        f"{path.name} shows no face for long enough: the longest of {recorder.short_tracks} tracks lasts "
        f"{recorder.longest_short_s:.2f} s, but min_track_s is {options.min_track_s:g}"
    )


@dataclass(slots=True)
class _Recorder:
    """Collects the sightings of the face that is being followed, and turns them into a track at its end."""

    options: FacesOptions
    crops: HeldCrops | None
    tracks: list[LandmarkTrack] = field(default_factory=list)
    short_tracks: int = 0
    longest_short_s: float = 0.0
    longest_short_frames: int = 0
    crops_s: float = 0.0
    smooth_s: float = 0.0
    _sightings: Sightings = field(default_factory=Sightings)
    _picture: tuple[int, int] = (0, 0)

    def add(self, frame: VideoFrame, face: FaceLandmarks) -> None:
        """The face was seen."""
        start = time.perf_counter()
        crop = register(frame.picture, face.points_px)
        self._sightings.add(frame.index, frame.pts_s, face, quality(crop))
        self._picture = (frame.picture.width_px, frame.picture.height_px)
        if self.crops is not None:
            jpeg = encoded(crop, jpeg_quality=self.options.jpeg_quality)
            self.crops.add(frame.index, jpeg, crop.crop_from_frame)
            if self._long_enough():
                self.crops.release(len(self.tracks))
        self.crops_s += time.perf_counter() - start

    def miss(self, frame: VideoFrame) -> None:
        """The face was not found, but is still followed."""
        self._sightings.miss(frame.index, frame.pts_s)

    def finish(self) -> None:
        """The face is followed no longer."""
        sightings, self._sightings = self._sightings, Sightings()
        if self.crops is not None:
            self.crops.forget()
        if not len(sightings):
            return
        if sightings.duration_s < self.options.min_track_s:
            self.short_tracks += 1
            self.longest_short_s = max(self.longest_short_s, sightings.duration_s)
            self.longest_short_frames = max(self.longest_short_frames, len(sightings))
            return
        start = time.perf_counter()
        self.tracks.append(_track_of(sightings, self.options.scheme, self._picture))
        self.smooth_s += time.perf_counter() - start

    def _long_enough(self) -> bool:
        return self._sightings.duration_s >= self.options.min_track_s


def _track_of(sightings: Sightings, scheme: str, picture: tuple[int, int]) -> LandmarkTrack:
    observed = sightings.points_px
    # A pixel's area reaches half a pixel around its centre.
    inside = np.all((observed >= -0.5) & (observed < np.array(picture) - 0.5), axis=2)
    return LandmarkTrack(
        scheme=scheme,
        frame=sightings.frame,
        pts_s=sightings.pts_s,
        box_px=sightings.box_px,
        observed_px=observed,
        smoothed_px=smoothed_face(observed, sightings.pts_s, sightings.confidence),
        confidence=sightings.confidence,
        sharpness=sightings.sharpness,
        brightness=sightings.brightness,
        in_frame=inside.mean(axis=1).astype(np.float32),
    )
