"""The numpy that stands in the card of every dataset, run on tables that the fit and the pipeline made."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import MODEL, landmark_track

from facevid.release.card_texts import CAMERA
from fitting.face_model import DEFAULT_MODEL_PATH
from fitting.options import FitOptions
from fitting.solver import fit_tracks
from fitting.synthetic import SyntheticOptions, synthetic_track
from pipeline.config import PruneOptions
from pipeline.fetched_video import FetchedVideo
from pipeline.fit_spans import face_size_px
from pipeline.items import SpanFacts, TrackSummary
from pipeline.manifest import ManifestRow
from pipeline.rows import Labels, TrackResult, frames_batches, tracks_batch

SCHEME = "mediapipe68"
PRUNE = PruneOptions(max_identity_norm=99.0, max_reprojection_error=1.0)
LABELS = Labels(detector="d", detector_sha256="d", face_model=MODEL.name, face_model_sha256=MODEL.sha256)


def fitted(number: int, camera: Literal["scaled_orthographic", "perspective"]) -> TrackResult:
    drawn = SyntheticOptions(frames=12, distance_mm=400.0 if camera == "perspective" else None)
    sequence = synthetic_track(MODEL, SCHEME, drawn, seed=number).sequence
    (fit,) = fit_tracks([sequence], MODEL, FitOptions(camera=camera, identity_iterations=3, frame_iterations=2))
    assert (fit.focal_px is None) == (camera == "scaled_orthographic")
    assert sequence.picture_px is not None
    width_px, height_px = sequence.picture_px
    return TrackResult(
        row=ManifestRow(video_id="v", url="v.mp4"),
        source=FetchedVideo(
            sha256="s" * 64, path=Path("/x"), url="u", title=None, uploader=None, licence=None, fetched_at=None,
            bytes=9, upload_date=None, format_id=None,
        ),
        video=SpanFacts(
            width_px=width_px, height_px=height_px, fps=30.0, codec="vp9", frames=12, lead_frames=0, short_tracks=0,
            cut_off_tracks=0, person_changes=0, lead_shot_ends=(), schemes=(SCHEME,),
        ),
        track=number, first_frame=0,
        landmarks=replace(
            landmark_track(12), observed_px=sequence.observed_px, smoothed_px=sequence.smoothed_px,
        ),
        fit=fit,
        face_size_px=face_size_px(fit, MODEL, scheme=SCHEME),
        summary=TrackSummary(
            status="converged", frames=12, observed_frames=12, identity_norm=1.0,
            reprojection_error=float(np.median(fit.reprojection_error)),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    (folder / "face_model.npz").symlink_to(DEFAULT_MODEL_PATH)
    results = [fitted(0, "scaled_orthographic"), fitted(1, "perspective")]
    rows = {
        "frames": [batch for result in results for batch in frames_batches(result, PRUNE)],
        "tracks": [tracks_batch(result, PRUNE, LABELS) for result in results],
    }
    for table, batches in rows.items():
        (folder / table).mkdir()
        pq.write_table(pa.Table.from_batches(batches), folder / table / "part-00000-of-00001.parquet")
    return folder


def errors_by(numpy_of_the_card: str) -> tuple[np.ndarray, np.ndarray]:
    # Its last line is a remark: what the loop made of a track is to be the column that it names.
    names: dict[str, list[np.ndarray]] = {"told": [], "seen": []}
    exec(numpy_of_the_card + "    told.append(rows.reprojection_error); seen.append(error)\n", names)  # noqa: S102
    return np.stack(names["told"]), np.stack(names["seen"])


def test_the_numpy_of_the_card_gives_the_errors_of_the_table(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", CAMERA, re.DOTALL)
    assert "facevid" not in block
    monkeypatch.chdir(tables)

    told, seen = errors_by(block)
    assert told.shape == (2, 12)
    np.testing.assert_allclose(seen, told, atol=2e-6)

    # The model has offsets, and they are large enough to be missed.
    _, bare = errors_by(block.replace("calibration/", "no such array/"))
    assert (np.median(bare, axis=1) > 1.1 * np.median(told, axis=1)).all()
