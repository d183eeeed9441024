"""Lids that are kept while an eye does not change, beside those of an eye that is looked at in every frame."""

import numpy as np

from benchmarks.tracks.setting import Setting, counted, print_table
from benchmarks.tracks.tracked import ALL
from facevid import assets
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import MediapipeDetector
from pipeline.faces.tracks import track_faces

VIDEOS = (
    "talk_512_30fps.mp4", "face_480_25fps.mp4", "face_480_30fps.mp4", "face_512_25fps.mp4", "single_face_640x360.mp4",
    "carphone_176x144.mp4", "noface_face_960x540.mov",
)  # fmt: skip
_LIDS = slice(36, 48)
_OUTER_EYES = (36, 45)


def measure(setting: Setting) -> dict[str, float]:
    networks = assets.fetch_landmark_networks()
    thorough = MediapipeDetector(networks, reuse_eyes=False)
    rows, every = [], []
    for name in counted(VIDEOS[: 1 if setting.quick else None], "videos"):
        thrifty = MediapipeDetector(networks)
        ours, truth = (track_faces(setting.videos / name, one, ALL).tracks for one in (thrifty, thorough))
        kept = thrifty.eyes.reused / (thrifty.eyes.reused + thrifty.eyes.asked)
        apart = np.concatenate([_apart(one, other) for one, other in zip(ours, truth, strict=True)])
        every.append(apart)
        values = np.median(apart), _ninety_ninth(apart), apart.max()
        rows.append((name, f"{kept:.0%}", *(f"{value:.2%}" for value in values)))
    print_table(("video", "eyes kept", "median", "99th percentile", "largest"), rows)
    print("distances of raw lid points over the outer-eye distance")
    return {"kept_lids_apart": _ninety_ninth(np.concatenate(every))}


def _apart(one: LandmarkTrack, other: LandmarkTrack) -> np.ndarray:
    _, first, second = np.intersect1d(one.frame, other.frame, return_indices=True)
    here, there = one.observed_px[first], other.observed_px[second]
    eyes = np.linalg.norm(there[:, _OUTER_EYES[0]] - there[:, _OUTER_EYES[1]], axis=1)
    return np.asarray(np.linalg.norm(here[:, _LIDS] - there[:, _LIDS], axis=2) / eyes[:, None]).ravel()


def _ninety_ninth(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.99))
