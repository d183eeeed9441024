"""A real video in spans and in one piece. It is not part of the project: FACEVID_VIDEOS names its folder."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pretend import pieces
from synthetic import job_in, with_options

from facevid import assets
from pipeline.desk import Desk
from pipeline.faces.landmark_track import LandmarkTrack
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.tracks import track_faces
from pipeline.fetch import Fetcher
from pipeline.label import fetch_row, find_faces
from pipeline.manifest import ManifestRow
from pipeline.progress import Counters
from pipeline.row_state import places, row_state
from pipeline.row_tracks import joined, read_whole
from pipeline.store import Store

FOLDER = os.environ.get("FACEVID_VIDEOS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="FACEVID_VIDEOS does not name the folder of the test videos")
OPTIONS = FacesOptions(crops=False)


def tracks_of_row(folder: Path, span_s: float) -> list[LandmarkTrack]:
    """Of the first six seconds, as a build finds them."""
    job = with_options(job_in(folder), faces=replace(OPTIONS, span_s=span_s))
    row = ManifestRow(video_id="talk", url=str(Path(FOLDER or "") / "talk_512_30fps.mp4"), end_s=6.0)
    store = Store(job.store_folder)
    desk = Desk(job=job, store=store, counters=Counters(job.state))
    fetch_row(row, desk, Fetcher(job.options.fetch, store, folder))
    detector = open_detector(OPTIONS, assets.fetch_landmark_networks())
    for piece in reversed(pieces(row, job)):
        find_faces(piece, desk, detector, track_faces)
    spans = tuple(places(row_state(row, job, store), store))
    return [read_whole(parts, spans, store) for tracks in joined(spans, store).values() for parts in tracks]


def test_a_video_in_spans_gives_the_track_that_it_gives_in_one_piece(tmp_path: Path) -> None:
    (whole,) = tracks_of_row(tmp_path / "whole", 6.0)
    (joined_up,) = tracks_of_row(tmp_path / "spans", 2.0)

    assert joined_up.frame.tolist() == whole.frame.tolist() == list(range(180))
    np.testing.assert_array_equal(joined_up.pts_s, whole.pts_s)
    eyes_px = np.linalg.norm(whole.observed_px[:, 36] - whole.observed_px[:, 45], axis=1)[:, None]
    for name, most in (("observed_px", 0.015), ("smoothed_px", 0.01)):
        apart = np.linalg.norm(getattr(joined_up, name) - getattr(whole, name), axis=2) / eyes_px
        assert apart.max() < most
        assert np.median(apart) < 0.001
