"""Which tracks of a dataset a detector's errors are learnt from, and what the command says where there are too few."""

from collections.abc import Callable
from pathlib import Path

import pytest

from facevid.cli import main
from facevid.commands.calibration import longest_tracks
from facevid.dataset import open_dataset


def test_each_person_counts_once_with_the_longest_track(write_dataset: Callable[..., Path], toy_track: type) -> None:
    root = write_dataset(
        toy_track(video_id="a", frames=9),
        toy_track(video_id="a", track=1, frames=12),
        toy_track(video_id="b", frames=20, kept=False),
        toy_track(video_id="c", frames=7, subject_id="one"),
        toy_track(video_id="d", frames=8, subject_id="one"),
        toy_track(video_id="e", frames=6, dropped_frames=(0,)),
    )
    sequences = longest_tracks(open_dataset(root), most=10)
    assert [len(sequence.pts_s) for sequence in sequences] == [12, 8, 5]
    assert sequences[0].weight.shape == (12, 5)
    assert sequences[0].weight[0, 0] == pytest.approx(0.9)
    assert len(longest_tracks(open_dataset(root), most=2)) == 2


def test_a_dataset_with_too_few_faces_is_refused_in_one_sentence(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_dataset(toy_track(video_id="a"), toy_track(video_id="b"))
    assert main(["model", "calibrate", str(root), "--out", str(tmp_path / "model.npz")]) == 2
    assert "2 tracks are too few to calibrate from; at least 3 are needed" in capsys.readouterr().err
    assert not (tmp_path / "model.npz").exists()
