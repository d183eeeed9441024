"""Files that have broken other people's pipelines: each costs itself, with the right code, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.poison import POISONS, Poison, make_source
from pipeline.faces.errors import VideoError
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.options import FacesOptions
from pipeline.faces.regions import FaceBox, FaceRegion
from pipeline.faces.tracks import track_faces

REGION = FaceRegion(x=80.0, y=60.0, side_px=60.0, angle_rad=0.0)
BOX = FaceBox(
    x0=50.0, y0=30.0, x1=110.0, y1=90.0, score=1.0, right_eye_px=(65.0, 50.0), left_eye_px=(95.0, 50.0)
)


class EverywhereAFace:
    """Finds the same face in every picture, whatever it shows."""

    scheme = "mediapipe68"
    name = "everywhere"
    weights_sha256 = ""

    def find_faces(self, picture, window=None):
        return [BOX]

    def region_of(self, box):
        return REGION

    def landmarks(self, picture, region):
        points = np.random.default_rng(0).uniform((55, 35), (105, 85), (68, 2))
        return FaceLandmarks(
            scheme=self.scheme, points_px=points.astype(np.float32), confidence=0.9,
            box_px=np.array([50, 30, 110, 90], np.float32), region=REGION,
        )  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source") / "source.mp4")


def outcome(path: Path) -> str:
    try:
        result = track_faces(path, EverywhereAFace(), FacesOptions(crops=False))
    except VideoError as error:
        return error.code
    except FileNotFoundError:
        return "not_found"
    assert result.frames_read == sum(len(track.frame) for track in result.tracks)
    return "ok"


def test_there_are_as_many_poisons_as_promised() -> None:
    assert len(POISONS) >= 25
    assert len({poison.name for poison in POISONS}) == len(POISONS)


# Whether a path is a regular file is asked when it is fetched; see test_fetch.py.
@pytest.mark.parametrize(
    "poison", [p for p in POISONS if not p.slow and p.name not in {"pipe.mp4", "folder.mp4"}], ids=lambda p: p.name
)
def test_a_poison_ends_as_it_must(tmp_path: Path, source: Path, poison: Poison) -> None:
    path = tmp_path / poison.name
    poison.make(path, source)

    expected = {"one-frame.mp4": "no_face", "one-pixel.mkv": "ok"}.get(poison.name, poison.expected)
    assert outcome(path) == expected
