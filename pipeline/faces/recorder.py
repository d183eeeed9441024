"""From faces in frames to tracks: each face's sightings are collected, and parted where one person's track must end.

Where a shot ended is known some frames later, and so is that a face was replaced by another. So nothing is final until
then: only frames that are settled have their crops handed over, and give a track its number.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.faces.cropping import CroppedFace, cropped
from pipeline.faces.crops import CropSink, HeldCrops
from pipeline.faces.dissolves import Transition
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.motion import smoothed_face
from pipeline.faces.options import FacesOptions
from pipeline.faces.sightings import Sighting, Sightings
from pipeline.faces.video import VideoFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortTrack:
    """A track that is left out because it is too short.

    Attributes:
        start_s: Its first sighting.
        end_s: Its last.
        frames: Its frames.
        cut_off: The face was still followed when the video, or the part of it that was read, was over.
    """

    start_s: float
    end_s: float
    frames: int
    cut_off: bool


@dataclass(slots=True)
class _Stretch:
    """One face for as long as it is surely one person in one shot; a track, if it lasts.

    Attributes:
        face: Number of the face that is followed.
        sightings: Of it.
        crops: Those not yet handed over.
        track: Its number, once it has lasted.
        open: Whether the face may still be seen.
        cut_off: Whether it might have been, had the video gone on.
    """

    face: int
    sightings: Sightings = field(default_factory=Sightings)
    crops: HeldCrops = field(default_factory=HeldCrops)
    track: int | None = None
    open: bool = True
    cut_off: bool = False


class TrackRecorder:
    """Takes what was seen frame by frame, and makes tracks of it.

    Args:
        options: Uses `min_track_s`, `max_appearance_jump`, `scheme`, `crops`, `jpeg_quality`.
        sink: Takes the crops of tracks.

    Attributes:
        short: The tracks left out.
        leaps_s: When a track was parted because another face took its place.
        crops_s: Wall time spent on crops and looks, seconds.
        smooth_s: Wall time spent on smoothing.
    """

    def __init__(self, options: FacesOptions, sink: CropSink | None) -> None:
        self.short: list[ShortTrack] = []
        self.leaps_s: list[float] = []
        self.crops_s = self.smooth_s = 0.0
        self._options = options
        self._sink = sink if options.crops else None
        self._stretches: list[_Stretch] = []
        self._tracks: dict[int, LandmarkTrack] = {}
        self._numbered = 0
        self._picture_px = (0, 0)

    @property
    def tracks(self) -> tuple[LandmarkTrack, ...]:
        """The finished tracks, by number: in the order in which they had lasted long enough."""
        return tuple(track for _, track in sorted(self._tracks.items()))

    def crops_of(
        self, faces: Sequence[tuple[VideoFrame, FaceLandmarks]], kept: Sequence[bool]
    ) -> list[CroppedFace]:
        """What `add` wants to have of each face; only where it is kept with the crop as a file."""
        start = time.perf_counter()
        jpeg_quality = None if self._sink is None else self._options.jpeg_quality
        pairs = [(frame.picture, face.points_px) for frame, face in faces]
        crops = list(cropped(pairs, jpeg_quality=jpeg_quality, kept=kept))
        self.crops_s += time.perf_counter() - start
        return crops

    def add(
        self, number: int, frame: VideoFrame, face: FaceLandmarks, crop: CroppedFace, *, occlusion: float = math.nan
    ) -> None:
        """A face that is followed was found; NaN where nobody was asked whether it is covered."""
        start = time.perf_counter()
        stretch = self._open(number)
        stretch.sightings.add(frame.index, frame.pts_s, Sighting(face, crop.quality, crop.look, occlusion))
        self._picture_px = (frame.picture.width_px, frame.picture.height_px)
        if crop.jpeg is not None:
            stretch.crops.add(frame.index, crop.jpeg, crop.crop_from_frame)
        other = stretch.sightings.leap_beyond(self._options.max_appearance_jump)
        if other is not None:
            self._part(stretch, other, other)
            self.leaps_s.append(self._open(number).sightings.start_s)
        self.crops_s += time.perf_counter() - start

    def miss(self, number: int, frame: VideoFrame) -> None:
        """A face that is followed was not found."""
        stretch = self._open(number)
        if len(stretch.sightings):
            stretch.sightings.miss(frame.index, frame.pts_s)

    def stop(self, number: int) -> None:
        """A face is followed no longer."""
        for stretch in self._stretches:
            if stretch.face == number:
                stretch.open = False

    def separate(self, transition: Transition) -> None:
        """One shot ended and another began."""
        for stretch in list(self._stretches):
            seen = stretch.sightings
            across = len(seen) and seen.begin < transition.begin < seen.end
            within = len(seen) and seen.begin < transition.end and transition.begin < seen.end
            if across or within:
                self._part(stretch, transition.begin, transition.end)

    def settle(self, before: int) -> None:
        """Hand over what is known: no transition that begins before this frame can still be found."""
        self._settle(before - 1)

    def finish(self) -> None:
        """The video is over."""
        for stretch in self._stretches:
            stretch.cut_off, stretch.open = stretch.open, False
        self._settle(np.iinfo(np.int64).max)

    def _open(self, number: int) -> _Stretch:
        for stretch in reversed(self._stretches):
            if stretch.face == number and stretch.open:
                return stretch
        self._stretches.append(_Stretch(number))
        return self._stretches[-1]

    def _part(self, stretch: _Stretch, begin: int, end: int) -> None:
        before, after = stretch.sightings.split(begin, end)
        held_before, held_after = stretch.crops.split(begin, end)
        stretch.sightings, stretch.crops = before, held_before
        place = self._stretches.index(stretch)
        self._stretches.insert(place + 1, _Stretch(stretch.face, after, held_after, open=stretch.open))
        stretch.open = False

    def _settle(self, until: int) -> None:
        left = []
        for stretch in self._stretches:
            seen = stretch.sightings
            if not len(seen):
                if stretch.open:
                    left.append(stretch)
                continue
            settled = min(until, seen.surely_one_until) if stretch.open else until
            if stretch.track is None and seen.duration_until_s(settled) >= self._options.min_track_s:
                stretch.track = self._numbered
                self._numbered += 1
            if stretch.track is not None and self._sink is not None:
                stretch.crops.release(self._sink, stretch.track, until=settled)
            if stretch.open or seen.end > until:
                left.append(stretch)
            elif stretch.track is None:
                end_s = seen.start_s + seen.duration_s
                self.short.append(
                    ShortTrack(start_s=seen.start_s, end_s=end_s, frames=len(seen), cut_off=stretch.cut_off)
                )
            else:
                start = time.perf_counter()
                self._tracks[stretch.track] = self._track_of(seen)
                self.smooth_s += time.perf_counter() - start
        self._stretches = left

    def _track_of(self, seen: Sightings) -> LandmarkTrack:
        observed = seen.points_px
        # A pixel's area reaches half a pixel around its centre.
        inside = np.all((observed >= -0.5) & (observed < np.array(self._picture_px) - 0.5), axis=2)
        return LandmarkTrack(
            scheme=self._options.scheme,
            frame=seen.frame,
            pts_s=seen.pts_s,
            box_px=seen.box_px,
            observed_px=observed,
            smoothed_px=smoothed_face(observed, seen.pts_s, seen.confidence),
            confidence=seen.confidence,
            sharpness=seen.sharpness,
            brightness=seen.brightness,
            in_frame=inside.mean(axis=1).astype(np.float32),
            similarity=seen.similarity,
            jump=seen.jump,
            occlusion=seen.occlusion,
        )
