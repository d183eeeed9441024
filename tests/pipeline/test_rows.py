from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from signings import SIGNED_TWICE
from synthetic import MODEL, POINTS, fitted_track, landmark_track

from facevid.failures import Failure, FailureCode, Stage
from facevid.schema import crops_schema, failures_schema, frames_schema, tracks_schema
from pipeline.config import PruneOptions
from pipeline.fetched_video import FetchedVideo
from pipeline.items import SpanFacts, TrackSummary
from pipeline.manifest import ManifestRow
from pipeline.rows import (
    Labels,
    TrackResult,
    crops_batches,
    failures_batch,
    frames_batches,
    tracks_batch,
)
from pipeline.steadiness import jitter

PRUNE = PruneOptions(max_identity_norm=5.0, max_reprojection_error=0.05)
LABELS = Labels(detector="mediapipe", detector_sha256="d", face_model="m", face_model_sha256="f")


def result(*, norm: float = 1.0) -> TrackResult:
    landmarks = landmark_track(4, first=10)
    confidence = np.array([0.9, 0.0, 0.8, 0.7], np.float32)
    source = FetchedVideo(
        sha256="s" * 64, path=Path("/x"), url="u", title="T", uploader=None, licence="from the site",
        fetched_at=None, bytes=9, upload_date="2024-02-29", format_id="18",
    )
    return TrackResult(
        row=ManifestRow(video_id="v", url="clips/v.mp4", subject_id="anna", attribution="A", split="test"),
        source=source,
        video=SpanFacts(
            width_px=64, height_px=48, fps=25.0, codec="vp9", frames=20, lead_frames=0, short_tracks=0,
            cut_off_tracks=0, person_changes=0, lead_shot_ends=(), schemes=("mediapipe68",),
        ),
        track=3,
        first_frame=0,
        landmarks=replace(landmarks, confidence=confidence),
        fit=fitted_track(4),
        face_size_px=np.full(4, 100.0, np.float32),
        summary=TrackSummary(
            status="converged", frames=4, observed_frames=4, identity_norm=norm, reprojection_error=0.01
        ),
    )


def frame_rows(track: TrackResult, options: PruneOptions) -> list[dict[str, Any]]:
    return [row for batch in frames_batches(track, options) for row in batch.to_pylist()]


def test_frame_rows_follow_the_schema_and_keep_seen_frames_only() -> None:
    (batch,) = frames_batches(result(), PRUNE)

    assert batch.schema.equals(frames_schema(points=POINTS, n_expression=MODEL.n_expression), check_metadata=True)
    rows = batch.to_pylist()
    assert [row["frame"] for row in rows] == [10, 11, 12, 13]
    assert [row["kept"] for row in rows] == [True, False, True, True]
    assert rows[0]["pts_s"] == 10 / 25
    first = result().landmarks.observed_px[2]
    assert rows[2]["landmarks_px"][:4] == [*first[0].tolist(), *first[1].tolist()]
    # The quaternion (0, 1, 0, 0) turns the head frame into the camera frame of a frontal face.
    assert (rows[0]["yaw_deg"], rows[0]["pitch_deg"], rows[0]["roll_deg"]) == pytest.approx((0, 0, 0), abs=1e-5)


def test_a_frame_that_is_not_kept_says_why_the_track_first_then_the_look_then_the_first_rule() -> None:
    seen = replace(result().landmarks, sharpness=np.array([0.1, 0.1, 0.9, 0.9], np.float32))
    seen = replace(seen, brightness=np.array([0.5, 0.5, 0.5, 0.9], np.float32))
    options = replace(PRUNE, keep="sharpness > 0.2 and brightness<0.8")
    rows = frame_rows(replace(result(), landmarks=seen), options)
    assert [row["filtered_reason"] for row in rows] == ["sharpness > 0.2", "not_seen", None, "brightness < 0.8"]
    assert [row["kept"] for row in rows] == [False, False, True, False]
    pruned_rows = frame_rows(replace(result(norm=5.1), landmarks=seen), options)
    assert {row["filtered_reason"] for row in pruned_rows} == {"identity_norm"}


def test_occlusion_is_null_where_the_detector_cannot_tell() -> None:
    told = replace(result().landmarks, occlusion=np.array([0.25, np.nan, np.nan, 1.0], np.float32))
    rows = frame_rows(replace(result(), landmarks=told), PRUNE)
    assert [row["occlusion"] for row in rows] == [0.25, None, None, 1.0]


def test_motion_is_speed_in_face_sizes_and_jitter_the_bend_of_the_raw_points() -> None:
    step = np.arange(4, dtype=np.float32)[:, None, None] * np.float32([3.0, 4.0])
    seen = replace(result().landmarks, confidence=np.ones(4, np.float32))
    raw = np.zeros((4, POINTS, 2), np.float32)
    raw[1, :, 0] = 2.0
    still = np.zeros((4, POINTS, 2), np.float32)
    seen = replace(seen, smoothed_px=(still + step).astype(np.float32), observed_px=raw)
    rows = frame_rows(replace(result(), landmarks=seen), PRUNE)
    # 5 px in a frame of 1/25 s, of a face of 100 px; second differences of 0, 2, 0, 0 are -4 and 2.
    assert [row["motion_per_s"] for row in rows] == pytest.approx([1.25] * 4)
    assert [row["jitter"] for row in rows] == pytest.approx([0.0, 0.04, 0.02, 0.0])


def test_the_rows_of_a_long_track_come_in_pieces_and_are_those_of_it_in_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(3)
    landmarks = landmark_track(50, seed=1)
    long = replace(
        result(), fit=fitted_track(50, seed=2), face_size_px=random.uniform(80, 90, 50).astype(np.float32),
        landmarks=replace(
            landmarks, confidence=random.choice(np.float32([0.0, 0.8]), 50, p=[0.2, 0.8]),
            smoothed_px=random.uniform(0, 9, landmarks.smoothed_px.shape).astype(np.float32),
        ),
    )  # fmt: skip
    options = replace(PRUNE, keep="motion_per_s < 1.0 and jitter < 0.012")
    whole, bend = frame_rows(long, options), jitter(long.landmarks, long.face_size_px)
    assert len({row["filtered_reason"] for row in whole}) > 1

    for rows_at_once in (1, 7, 25):
        monkeypatch.setattr("pipeline.rows._ROWS_AT_ONCE", rows_at_once)
        monkeypatch.setattr("pipeline.steadiness._FRAMES_AT_ONCE", rows_at_once)
        sizes = [batch.num_rows for batch in frames_batches(long, options)]
        assert max(sizes) == rows_at_once
        assert frame_rows(long, options) == whole
        assert jitter(long.landmarks, long.face_size_px) == bend


def test_a_track_row_carries_provenance_and_split() -> None:
    batch = tracks_batch(result(), PRUNE, LABELS)

    assert batch.schema.equals(tracks_schema(n_identity=MODEL.n_identity), check_metadata=True)
    (row,) = batch.to_pylist()
    assert (row["video_id"], row["track"], row["split"], row["subject_id"]) == ("v", 3, "test", "anna")
    assert (row["frames"], row["first_frame"], row["last_frame"]) == (4, 10, 13)
    assert (row["licence"], row["title"], row["fetched_at"]) == ("from the site", "T", None)
    assert (row["upload_date"], row["format_id"]) == ("2024-02-29", "18")
    assert (row["kept"], row["filtered_reason"]) == (True, None)


def test_clips_of_a_video_stay_in_their_split_when_its_link_is_signed_anew() -> None:
    splits: list[list[str]] = [[], []]
    for links in SIGNED_TWICE.values():
        for url, found in zip(links, splits, strict=True):
            clip = ManifestRow(video_id="v", url=url, end_s=9.0)
            (row,) = tracks_batch(replace(result(), row=clip), PRUNE, LABELS).to_pylist()
            assert row["url"] == links[0].partition("?")[0]
            found.append(row["split"])

    assert splits[0] == splits[1]


def test_a_pruned_track_stays_with_its_reason_and_none_of_its_frames_is_kept() -> None:
    (row,) = tracks_batch(result(norm=5.1), PRUNE, LABELS).to_pylist()

    assert (row["kept"], row["filtered_reason"]) == (False, "identity_norm")
    assert not any(row["kept"] for row in frame_rows(result(norm=5.1), PRUNE))


def test_crop_rows_follow_the_schema() -> None:
    stored = pa.RecordBatch.from_pydict(
        {"track": pa.array([1], pa.int32()), "frame": pa.array([7], pa.int32()), "jpeg": pa.array([b"j"]),
         "crop_from_frame": pa.array([[1, 2, 3, 4, 5, 6]], pa.list_(pa.float32(), 6))}
    )  # fmt: skip

    (batch,) = crops_batches("v", 4, iter([stored]), first_frame=100)

    assert batch.schema.equals(crops_schema(), check_metadata=True)
    assert batch.to_pylist() == [
        {"video_id": "v", "track": 4, "frame": 107, "jpeg": b"j", "crop_from_frame": [1, 2, 3, 4, 5, 6]}
    ]


def test_failures_are_sorted_whole_videos_first() -> None:
    def failure(video_id: str, track: int | None) -> Failure:
        return Failure(
            video_id=video_id, track=track, url="u", stage=Stage.FIT, code=FailureCode.NETWORK, attempt=1, message="m"
        )

    batch = failures_batch([failure("b", 1), failure("b", None), failure("B", 0), failure("b", 0)])

    assert batch.schema.equals(failures_schema(), check_metadata=True)
    rows = batch.to_pylist()
    assert [(row["video_id"], row["track"]) for row in rows] == [("B", 0), ("b", None), ("b", 0), ("b", 1)]
    assert rows[0]["retryable"]


def test_what_lets_someone_in_stays_out_of_the_tables() -> None:
    url = "https://u:s3cr3t@x.org/v?id=1&Signature=s3cr3t"
    shown = "https://x.org/v?id=1&Signature=removed"
    track = result()

    (row,) = tracks_batch(replace(track, row=replace(track.row, url=url)), PRUNE, LABELS).to_pylist()
    (failure,) = failures_batch([
        Failure(video_id="v", track=None, url=url, stage=Stage.FETCH, code=FailureCode.TOO_LARGE, attempt=1,
                message=f"{url} has 9 bytes"),
    ]).to_pylist()  # fmt: skip

    assert row["url"] == shown
    assert (failure["url"], failure["message"]) == (shown, f"{shown} has 9 bytes")
