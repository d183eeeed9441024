"""A training that begins with an earlier model's weights: which ones it takes, and what it says of them."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import facevid
from facevid import storage
from training import deepexp3d
from training.card import model_card
from training.config import TrainOptions
from training.deepexp3d import train_deepexp3d
from training.model_config import ModelConfig, SourceDataset

OPTIONS = TrainOptions(preset="fast", epochs=2, batch_size=4, workers=0, learning_rate=1e-9, weight_decay=0.0)
DATASETS = (SourceDataset(config_hash="c0ffee", content_sha256="d"),)
SOURCES = {"videos": 3, "licences": {"CC-BY-4.0": 2}}


@pytest.fixture
def dataset(write_dataset: Callable[..., Path], toy_track: type) -> Path:
    return write_dataset(toy_track(video_id="a", frames=9), toy_track(video_id="b", frames=3, split="val"))


@pytest.fixture
def earlier(dataset: Path, tmp_path: Path, small_network: Callable) -> Path:
    """The folder of an earlier model, of the small network with weights of its own."""
    about, folder = facevid.open(dataset).description, tmp_path / "earlier"
    folder.mkdir()
    config = ModelConfig(
        preset="fast", n_expression=about.n_expression, face_model=about.face_model,
        face_model_sha256=about.face_model_sha256, face_model_licence="CC0-1.0", landmark_scheme=about.landmark_scheme,
        datasets=DATASETS, training={}, versions={},
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config.to_json()), "utf-8")
    (folder / "metrics.json").write_text(json.dumps({"sources": SOURCES, "init": None}), "utf-8")
    save_file(small_network("fast", about.n_expression, seed=77).state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture
def train(dataset: Path, written: list) -> Callable[..., tuple[dict[str, torch.Tensor], dict]]:
    """Trains in milliseconds; gives the weights and the record of the model that is written."""

    def run(out: Path, *, init: Path | None, lines: list[str] | None = None) -> tuple:
        train_deepexp3d([dataset], out, OPTIONS, [].append if lines is None else lines.append, init=init)
        return written[-1]

    return run


def changed(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_it_goes_on_from_the_weights_and_names_them(train: Callable, earlier: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    weights, record = train(tmp_path / "model", init=earlier, lines=lines)
    for name, value in load_file(earlier / "model.safetensors").items():
        if "1." not in name:  # statistics of normalisation are those of the new crops
            torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=0.0)
    sha256 = storage.sha256(str(earlier / "model.safetensors"))
    assert any(line.startswith("beginning with the weights of ") and sha256[:12] in line for line in lines)
    assert record["init"] == {
        "weights_sha256": sha256, "datasets": [asdict(DATASETS[0])], "sources": SOURCES, "init": None
    }  # fmt: skip
    assert not any("registered by" in line for line in lines)
    words = [line.split(" ")[0] for line in lines]
    assert words.index("beginning") < words.index("before") < words.index("epoch")
    # Nearly nothing is learned at this rate, and no statistics are in it but of few crops: it is what it was.
    before, first = (re.findall(r"val: vertex error ([0-9.]+) mm", lines[words.index(word)])[0]
                     for word in ("before", "epoch"))
    assert float(before) == pytest.approx(float(first), rel=0.5)


def test_weights_that_no_epoch_makes_better_are_shipped_as_they_were(
    train: Callable, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at_first_save: Callable
) -> None:
    evaluate, errors_mm = deepexp3d.evaluate, iter((1.0, 1.5, 2.0))

    def ever_worse(network: object, examples: Any, *rest: Any, **options: Any) -> Any:
        found = evaluate(network, examples, *rest, **options)
        return replace(found, vertex_error_mm=next(errors_mm)) if examples.split == "val" else found

    monkeypatch.setattr(deepexp3d, "evaluate", ever_worse)
    with stopped_at_first_save():
        train(tmp_path / "model", init=earlier)
    lines: list[str] = []
    weights, record = train(tmp_path / "model", init=earlier, lines=lines)  # goes on: that they were best is not lost
    began = load_file(earlier / "model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in began.items())
    assert (record["shipped_steps"], record["steps"]) == (0, 4)
    assert record["before"] == record["final"]["val"]
    assert record["before"]["vertex_error_mm"] == 1.0
    assert not any("the best so far" in line for line in lines)
    told = next(line for line in lines if line.startswith("no epoch was better on the val split than the weights that"))
    assert "vertex error 1.000 mm, 2.000 mm after the last step, 4." in told


def test_without_an_earlier_model_the_weights_are_random_ones(
    train: Callable, small_network: Callable, tmp_path: Path
) -> None:
    weights, record = train(tmp_path / "model", init=None)
    torch.testing.assert_close(weights["head.weight"], small_network("fast", 4, seed=0).head.weight.detach(),
                               atol=1e-5, rtol=0.0)
    assert record["init"] is None


def test_a_stopped_training_goes_on_only_if_it_began_with_the_same_weights(
    train: Callable, earlier: Path, tmp_path: Path, stopped_at_first_save: Callable
) -> None:
    whole, whole_record = train(tmp_path / "whole", init=earlier)
    with stopped_at_first_save():
        train(tmp_path / "model", init=earlier)
    with pytest.raises(ValueError, match=r"begun with init='[0-9a-f]{64}'; this one has init=None"):
        train(tmp_path / "model", init=None)
    lines: list[str] = []
    resumed, record = train(tmp_path / "model", init=earlier, lines=lines)
    assert any("going on after step 1 of 4" in line for line in lines)
    assert not any(line.startswith("before the training") for line in lines)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert record == whole_record


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"preset": "resnet50"}, r"init=.* is a resnet50 network, not fast; use --preset resnet50"),
        ({"n_expression": 28}, r"init=.* predicts 28 coefficients, and .*dataset has 4"),
        ({"face_model_sha256": "0" * 64}, r"face model .* \(000000000000\), and .*dataset was fitted with .*--model"),
    ],
)
def test_a_model_of_another_kind_is_refused_before_anything_is_done(
    train: Callable, earlier: Path, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    changed(earlier, "config.json", **values)
    lines: list[str] = []
    with pytest.raises(ValueError, match=complaint):
        train(tmp_path / "model", init=earlier, lines=lines)
    assert not lines
    assert not (tmp_path / "model.training").exists()


def test_what_is_no_whole_model_is_told(train: Callable, earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder=.*nowhere' is no DeepExp3D model"):
        train(tmp_path / "model", init=tmp_path / "nowhere")
    weights = load_file(earlier / "model.safetensors")
    save_file({"head.bias": weights["head.bias"]}, earlier / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors does not hold this network's weights"):
        train(tmp_path / "model", init=earlier)
    save_file(weights | {"head.bias": torch.full((4,), torch.nan)}, earlier / "model.safetensors")
    with pytest.raises(ValueError, match="holds weights that are not finite"):
        train(tmp_path / "model", init=earlier)
    for not_finite in ("NaN", "1e999"):
        (earlier / "metrics.json").write_text(f'{{"sources": {{"videos": {not_finite}}}}}', "utf-8")
        with pytest.raises(ValueError, match=r"metrics\.json is damaged: Out of range float"):
            train(tmp_path / "model", init=earlier)
    (earlier / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        train(tmp_path / "model", init=earlier)


def test_crops_that_were_registered_by_other_landmarks_are_remarked_on(
    train: Callable, earlier: Path, tmp_path: Path
) -> None:
    changed(earlier, "config.json", landmark_scheme="ibug68")
    lines: list[str] = []
    train(tmp_path / "model", init=earlier, lines=lines)
    assert any(line.startswith("its crops were registered by ibug68, these by ") for line in lines)


def test_the_card_tells_of_all_that_a_model_was_trained_on(dataset: Path, earlier: Path) -> None:
    first = {"weights_sha256": "1" * 64, "dataset_config_hash": "<script>\n# c0de", "sources": "no", "init": 5}
    second = {"weights_sha256": "2" * 64, "datasets": [asdict(DATASETS[0])] * 2, "sources": SOURCES, "init": first}
    metrics: dict[str, Any] = {
        "final": {}, "sources": {"videos": 1, "licences": {}}, "steps": 1, "shipped_steps": 1,
        "onnx_max_difference": 0.0, "init": second,
    }  # fmt: skip
    config = json.loads((earlier / "config.json").read_text("utf-8"))
    card = model_card(config, metrics)
    wanted = [
        f"The weights that this training began with have the sha256\n`{'2' * 64}`\n",
        "were trained on 2 FaceVid datasets; a video that was in several was used once:\n\n- configuration hash\n",
        "(sha256 over those of its shards)\n  `d`\n\nLicences of the 3 training videos: `CC-BY-4.0` 2, none stated 1.",
        f"The weights that that one's began with have the sha256\n`{'1' * 64}`\n",
        "`scriptc0de`.\nUnder which licences its videos stood is not known.",
    ]
    places = [card.index(text) for text in wanted]
    assert places == sorted(places)
    assert "began with" not in model_card(config, metrics | {"init": None})
    assert "its 9 steps made none better" in model_card(config, metrics | {"steps": 9, "shipped_steps": 0})
