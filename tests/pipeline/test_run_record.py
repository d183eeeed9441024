import json
from pathlib import Path

import pytest
from synthetic import job_in

from pipeline.run_record import RUN_FILE, write_run_record


def record(folder: Path, counts: dict[str, float]) -> dict:
    job = job_in(folder)
    write_run_record(job, begun_at="2026-01-01T00:00:00Z", wall_s=9.0, label_s=8.0, worker_deaths=0, counts=counts)
    return json.loads((job.out / RUN_FILE).read_bytes())


def test_a_run_tells_what_a_frame_costs_step_by_step(tmp_path: Path) -> None:
    counts = {"tracked_frames": 200.0, "tracked_decode_s": 0.5, "tracked_landmarks_s": 1.0, "faces_s": 4.0}
    run = record(tmp_path, counts | {"decoded_frames": 400.0})
    assert run["faces_ms_per_frame"] == pytest.approx({"decode": 2.5, "landmarks": 5.0})
    assert run["faces_frames_per_s"] == pytest.approx(100.0)


def test_a_run_that_searched_nothing_has_no_costs(tmp_path: Path) -> None:
    assert record(tmp_path, {})["faces_ms_per_frame"] == {}


def test_a_run_whose_files_were_no_videos_read_no_frames_in_its_time(tmp_path: Path) -> None:
    # Time went into the faces stage, but no frame was ever decoded, so nobody counted one.
    run = record(tmp_path, {"faces_s": 0.3, "fit_s": 0.1})
    assert run["faces_frames_per_s"] == 0.0
    assert run["fit_frames_per_s"] == 0.0
