"""One detector for all topics, and each video tracked once."""

import functools
from pathlib import Path

from facevid import assets
from pipeline.faces.errors import NoFaceError
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import LandmarkDetector, open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.tracks import track_faces

ALL, FIRST = FacesOptions(crops=False), FacesOptions(crops=False, faces="first")


@functools.cache
def detector() -> LandmarkDetector:
    return open_detector(ALL, assets.fetch_landmark_networks())


@functools.cache
def tracks_of(path: Path, options: FacesOptions = ALL) -> tuple[LandmarkTrack, ...]:
    """The tracks of a video; none where it shows no face."""
    try:
        return track_faces(path, detector(), options).tracks
    except NoFaceError:
        return ()
