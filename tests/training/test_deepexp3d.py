"""The training as a whole: it learns ten crops by heart, and what it writes can be loaded and trusted."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open

import facevid
from facevid.description import DatasetError
from fitting.face_model import FaceModel
from training import evaluation
from training.config import TrainOptions
from training.deepexp3d import train_deepexp3d
from training.examples import load_splits
from training.export import load_deepexp3d
from training.loader import ordered_batches
from training.networks import build_network

BRIEF = TrainOptions(preset="fast", max_steps=1, batch_size=4, workers=0)


def test_it_learns_ten_crops_by_heart_and_ships_what_it_learned(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    dataset = write_dataset(toy_track(video_id="a", frames=10))
    options = TrainOptions(preset="fast", epochs=36, batch_size=10, learning_rate=4e-3, augment=False, workers=1)
    lines: list[str] = []
    result = train_deepexp3d([dataset], tmp_path / "model", options, lines.append)

    final = result.final["train"]
    assert final is not None
    assert final.relative_error is not None
    assert final.relative_error < 0.05
    assert final.mean_pearson is not None
    assert final.mean_pearson > 0.99
    assert result.history[-1].train_loss_mm2 < 0.01 * result.history[0].train_loss_mm2
    assert result.final["val"] is None
    assert any("no video in the val split" in line for line in lines)

    # The folder alone gives the same answers, through torch and through ONNX Runtime.
    examples = load_splits([facevid.open(dataset)])["train"]
    (batch,) = ordered_batches(examples, np.arange(10), batch_size=10, workers=0)
    model = load_deepexp3d(result.folder)
    predicted = model.predict(batch.crops)
    assert predicted.shape == (10, 4)
    baseline = np.linalg.norm(examples.expression - examples.expression.mean(axis=0))
    assert np.linalg.norm(predicted - examples.expression) < 0.1 * baseline
    session = onnxruntime.InferenceSession(result.folder / "model.onnx", providers=["CPUExecutionProvider"])
    (through_onnx,) = session.run(None, {"crops": batch.crops[:7]})
    np.testing.assert_allclose(through_onnx, predicted[:7], atol=1e-4)

    config = json.loads((result.folder / "config.json").read_text("utf-8"))
    assert config["face_model_sha256"] == facevid.open(dataset).description.face_model_sha256
    assert config["training"]["learning_rate"] == 4e-3
    metrics = json.loads((result.folder / "metrics.json").read_text("utf-8"))
    assert metrics["onnx_max_difference"] < 1e-4
    assert len(metrics["history"]) == 36
    card = (result.folder / "README.md").read_text("utf-8")
    assert "A facial expression is not\nevidence of an emotion" in card
    assert "after step 36 of 36: nothing was held out to choose them by" in card
    with safe_open(result.folder / "model.safetensors", framework="pt") as weights:
        assert weights.metadata()["shipped_steps"] == str(metrics["shipped_steps"]) == "36"
    assert sorted(path.name for path in tmp_path.glob("*model*")) == ["model"]


def test_held_out_videos_are_evaluated_and_a_few_are_called_a_few(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    dataset = write_dataset(
        toy_track(video_id="a", frames=4), toy_track(video_id="b", frames=3, split="val"),
        toy_track(video_id="c", frames=2, split="test"),
    )
    result = train_deepexp3d([dataset], tmp_path / "model", BRIEF, lambda _: None)
    val, test = result.final["val"], result.final["test"]
    assert val is not None
    assert test is not None
    assert (val.crops, val.videos, test.crops, test.videos) == (3, 1, 2, 1)
    assert "do not tell how the network does on people it has not seen" in val.remark
    card = (result.folder / "README.md").read_text("utf-8")
    assert "Licences of the 1 training videos: none stated 1." in card
    assert f"\n- val: {val.remark}.\n- test: {test.remark}.\n" in card
    # After one step the network still says little else than the mean expression.
    assert val.relative_error == pytest.approx(1.0, abs=0.5)
    assert load_deepexp3d(result.folder).predict(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 4)


def test_as_many_threads_work_as_there_are_cores_unless_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert TrainOptions().threads == 6
    assert (TrainOptions(workers=0).threads, TrainOptions(workers=40).threads) == (0, 40)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(192)))
    assert TrainOptions().threads == 16


def test_nothing_to_train_on_is_told(write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path) -> None:
    dataset = write_dataset(toy_track(video_id="b", split="val"))
    with pytest.raises(DatasetError, match="no kept crop in the train split"):
        train_deepexp3d([dataset], tmp_path / "model", BRIEF, lambda _: None)
    assert not list(tmp_path.glob("*model*"))


def test_an_evaluation_of_many_crops_says_how_far_it_is(
    write_dataset: Callable[..., Path], toy_track: type, toy_model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = load_splits([facevid.open(write_dataset(toy_track(video_id="a", frames=10)))])["train"]
    monkeypatch.setattr(evaluation, "_REPORT_EVERY_S", 0.0)
    lines: list[str] = []
    evaluation.evaluate(
        build_network("fast", 4), examples, toy_model, mean_expression=np.zeros(4, np.float32), options=BRIEF,
        device=torch.device("cpu"), report=lines.append,
    )
    assert [line.split(",")[0] for line in lines] == [
        f"evaluating train: {done} of 10 crops" for done in (4, 8, 10)
    ]


@pytest.mark.parametrize(
    ("option", "value"), [("learning_rate", 0.0), ("batch_size", 0), ("epochs", 0), ("max_steps", 0),
                        ("crops_per_track", -1), ("workers", -1)]
)
def test_options_that_train_nothing_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option}={value}"):
        TrainOptions(**{option: value})


def test_a_model_is_never_overwritten(write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match="exists already; choose another folder"):
        train_deepexp3d([write_dataset(toy_track(video_id="a"))], tmp_path / "model", BRIEF, lambda _: None)


def test_a_subject_in_two_splits_stops_the_training(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    dataset = write_dataset(
        toy_track(video_id="a", subject_id="s"), toy_track(video_id="b", subject_id="s", split="val")
    )
    with pytest.raises(DatasetError, match="subject_id 's' is in the splits"):
        train_deepexp3d([dataset], tmp_path / "model", BRIEF, lambda _: None)


def test_another_face_model_beside_the_dataset_stops_the_training(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    dataset = write_dataset(toy_track(video_id="a"))
    path = dataset / "facevid.json"
    path.write_text(path.read_text("utf-8").replace('"face_model_sha256": "', '"face_model_sha256": "0'), "utf-8")
    with pytest.raises(DatasetError, match="is not the face model that the dataset was fitted with"):
        train_deepexp3d([dataset], tmp_path / "model", BRIEF, lambda _: None)


def test_a_face_model_of_another_width_stops_the_training(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path
) -> None:
    dataset = write_dataset(toy_track(video_id="a"))
    path = dataset / "facevid.json"
    path.write_text(path.read_text("utf-8").replace('"n_expression": 4', '"n_expression": 5'), "utf-8")
    with pytest.raises(DatasetError, match=r"face_model\.npz has 4 expression components, and the dataset 5"):
        train_deepexp3d([dataset], tmp_path / "model", BRIEF, lambda _: None)
