"""A training that is stopped goes on to the same model, and what would be lost later is told before."""

import errno
import fcntl
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from facevid import storage
from training import deepexp3d, loop
from training.checkpoint import Checkpoints, State, checkpoints
from training.config import TrainOptions
from training.deepexp3d import train_deepexp3d
from training.examples import Examples
from training.loader import Batch
from training.loop import TrainingLoop
from training.model_folder import refuse_existing
from training.stopping import Terminated

OPTIONS = TrainOptions(preset="fast", epochs=2, batch_size=4, workers=0, learning_rate=4e-3)
Train = Callable[..., tuple[dict[str, torch.Tensor], dict]]
Stop = Callable[..., None]


@pytest.fixture
def train(
    write_dataset: Callable[..., Path], toy_track: type, tmp_path: Path, written: list
) -> Iterator[Train]:
    """Trains on 13 crops, three steps an epoch; gives the weights and the record of the model that is written."""
    dataset = write_dataset(toy_track(video_id="a", frames=13), toy_track(video_id="b", frames=3, split="val"))

    def run(out: Path, options: TrainOptions = OPTIONS, lines: list[str] | None = None) -> tuple:
        train_deepexp3d([dataset], out, options, [].append if lines is None else lines.append)
        return written[-1]

    return run


@pytest.fixture
def stop(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Trains `model`, saving after every step; after so many saves somebody presses Ctrl-C."""

    def run(saves: int, options: TrainOptions = OPTIONS) -> None:
        save, seen = Checkpoints.save, []

        def save_and_stop(self: Checkpoints, state: State) -> None:
            save(self, state)
            seen.append(state)
            if len(seen) == saves:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "due", lambda _: True)
            patch.setattr(Checkpoints, "save", save_and_stop)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "model", options)

    return run


ONE_EPOCH, WITHIN_AN_EPOCH = replace(OPTIONS, epochs=1), replace(OPTIONS, max_steps=4)
DRAWN = replace(OPTIONS, crops_per_track=9, workers=2)
STOPS = [
    # Saves follow each of three steps and the epoch, twice, and then the whole.
    *((OPTIONS, saves, f"{step} of 6") for saves, step in enumerate((1, 2, 3, 3, 4, 5, 6, 6, 6), start=1)),
    *((ONE_EPOCH, saves, "3 of 3") for saves in (3, 5)),
    *((WITHIN_AN_EPOCH, saves, "4 of 4") for saves in (5, 6)),
    *((DRAWN, saves, f"{step} of 4") for saves, step in ((1, 1), (4, 3))),
]


@pytest.mark.parametrize("where", STOPS, ids=lambda where: f"{where[1]}-saves-step-{where[2].replace(' ', '-')}")
def test_a_training_stopped_anywhere_goes_on_to_the_same_model(
    train: Train, stop: Stop, tmp_path: Path, where: tuple[TrainOptions, int, str]
) -> None:
    options, saves, step = where
    whole, record = train(tmp_path / "whole", options)
    stop(saves, options)
    assert (tmp_path / "model.training" / "checkpoint.safetensors").is_file()

    lines: list[str] = []
    resumed, resumed_record = train(tmp_path / "model", options, lines=lines)

    assert any(f"going on after step {step}" in line for line in lines)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert resumed_record == record
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "model", "whole"]


def test_an_epoch_shows_some_crops_of_each_track_and_says_how_many(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_REPORT_EVERY_S", 0.0)
    lines: list[str] = []
    _, record = train(tmp_path / "model", DRAWN, lines=lines)
    assert [(line["steps"], line["crops"]) for line in record["history"]] == [(2, 8), (4, 8)]
    assert "an epoch shows 9 training crops: 9 of a track, drawn anew each time" in lines
    assert any(line.startswith("epoch 1, 8 crops: ") for line in lines)
    assert any(re.match(r"step 3 of 4: .* crops/s, \d+% of the time waiting for crops, ", line) for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_after_the_step_in_hand_and_loses_nothing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    whole, record = train(tmp_path / "whole")
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    lines: list[str] = []
    with monkeypatch.context() as patch:
        signalled_in_steps(patch, {4: 1}, number)
        with pytest.raises(KeyboardInterrupt) as stopped:
            train(tmp_path / "model", lines=lines)
    assert isinstance(stopped.value, Terminated) == (number == signal.SIGTERM)
    assert sum("stopping after this step, which is saved" in line for line in lines) == 1
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers

    resumed, resumed_record = train(tmp_path / "model", lines=lines)
    assert any("going on after step 4 of 6" in line for line in lines)
    assert same(whole, resumed)
    assert resumed_record == record


def test_a_second_signal_ends_a_training_at_once(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled_in_steps(monkeypatch, {2: 2}, signal.SIGINT)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "model", lines=lines)
    assert not any("the training is saved" in line for line in lines)
    assert not (tmp_path / "model.training").exists()  # nothing was saved


@pytest.mark.parametrize(("val_every", "steps"), [(1, "3 of 6"), (2, "6 of 6"), (5, "6 of 6")])
def test_a_signal_during_an_evaluation_ends_a_training_at_once_and_loses_no_step(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, val_every: int, steps: str
) -> None:
    options = replace(OPTIONS, val_every=val_every)
    whole, record = train(tmp_path / "whole", options)
    handler = signal.getsignal(signal.SIGTERM)
    lines: list[str] = []

    def interrupted(*_: object, **__: object) -> None:
        assert signal.getsignal(signal.SIGTERM) is handler  # processes that are started now would inherit another
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the evaluation went on")

    with monkeypatch.context() as patch:
        patch.setattr(deepexp3d, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "model", options, lines=lines)
    assert lines[-1] == f"stopped; the training is saved in {tmp_path / 'model.training' / 'checkpoint.safetensors'}"

    resumed, resumed_record = train(tmp_path / "model", options, lines=lines)
    assert any(f"going on after step {steps}" in line for line in lines)
    assert same(whole, resumed)
    assert resumed_record == record


def signalled_in_steps(monkeypatch: pytest.MonkeyPatch, counts: dict[int, int], number: signal.Signals) -> None:
    """From now on so many signals come in the middle of these steps, counted from 1."""
    step = TrainingLoop._step

    def signalled(self: TrainingLoop, batch: Batch) -> float:
        for _ in range(counts.get(self.steps + 1, 0)):
            signal.raise_signal(number)
        return step(self, batch)

    monkeypatch.setattr(TrainingLoop, "_step", signalled)


def test_a_training_that_was_begun_otherwise_is_not_taken_up(train: Train, stop: Stop, tmp_path: Path) -> None:
    stop(2)

    with pytest.raises(ValueError, match="begun with crops_per_track=64; this one has crops_per_track=9"):
        train(tmp_path / "model", DRAWN)
    with pytest.raises(ValueError, match=r"begun with learning_rate=0\.004; this one has learning_rate=0\.1.*remove"):
        train(tmp_path / "model", replace(OPTIONS, learning_rate=0.1))
    # Threads and the device change no result.
    train(tmp_path / "model", replace(OPTIONS, workers=1, device="cpu"))


def test_a_damaged_checkpoint_is_told(train: Train, tmp_path: Path) -> None:
    (tmp_path / "model.training").mkdir()
    (tmp_path / "model.training" / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is damaged .* remove .*model\.training to begin"):
        train(tmp_path / "model")


def forged(folder: Path, change: Callable[[dict], object]) -> None:
    """Change a checkpoint's metadata, as JSON."""
    path = folder / "checkpoint.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    plain = {name: json.loads(text) for name, text in metadata.items()}
    change(plain)
    save_file(tensors, path, metadata={name: json.dumps(value) for name, value in plain.items()})


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.update(about=["seed"]),
        lambda plain: plain.update(progress=3),
        lambda plain: plain["progress"].pop("loop"),
        lambda plain: plain["progress"].update(loop=[]),
        lambda plain: plain["progress"].update(history=[7]),
    ],
    ids=["about-is-a-list", "progress-is-a-number", "no-loop", "loop-is-a-list", "history-of-numbers"],
)
def test_a_checkpoint_of_other_content_is_damaged(
    train: Train, stop: Stop, tmp_path: Path, change: Callable[[dict], object]
) -> None:
    stop(2)
    forged(tmp_path / "model.training", change)
    with pytest.raises(ValueError, match=r"(?s)checkpoint\.safetensors is damaged .* remove .*model\.training"):
        train(tmp_path / "model")


def test_another_version_and_other_measurements_do_not_go_on(train: Train, stop: Stop, tmp_path: Path) -> None:
    stop(2)
    with pytest.raises(ValueError, match="begun with val_max_crops=2000; this one has val_max_crops=2"):
        train(tmp_path / "model", replace(OPTIONS, val_max_crops=2))
    with pytest.raises(ValueError, match="begun with val_every=1; this one has val_every=2"):
        train(tmp_path / "model", replace(OPTIONS, val_every=2))
    forged(tmp_path / "model.training", lambda plain: plain["about"].update(torch="1.0"))
    with pytest.raises(ValueError, match=r"begun with torch='1\.0'; this one has torch="):
        train(tmp_path / "model")


def test_a_model_that_came_to_exist_meanwhile_costs_no_training(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = train(tmp_path / "whole")

    def made_by_another(out: Path, *_: object, **__: object) -> None:
        out.mkdir()
        refuse_existing(out)

    with monkeypatch.context() as patch:
        patch.setattr(deepexp3d, "write_model", made_by_another)
        with pytest.raises(ValueError, match=r"exists already.* run the same command again: the training is kept"):
            train(tmp_path / "model")
    (tmp_path / "model").rmdir()
    lines: list[str] = []
    resumed, _ = train(tmp_path / "model", lines=lines)
    assert any("going on after step 6 of 6" in line for line in lines)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_training_that_diverged_can_be_begun_again_with_a_lower_rate(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "due", lambda _: True)
    with pytest.raises(FloatingPointError, match="lower --learning-rate"):
        train(tmp_path / "model", replace(OPTIONS, learning_rate=1e30))
    lines: list[str] = []
    train(tmp_path / "model", lines=lines)
    assert not any("going on" in line for line in lines)


@pytest.mark.parametrize("ended_well", [True, False])
def test_a_lock_whose_file_was_removed_before_it_was_locked_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ended_well: bool
) -> None:
    out, locks = tmp_path / "model", []
    flock = fcntl.flock

    def the_first_training_ends_before(descriptor: int, operation: int) -> None:
        locks.append(descriptor)
        if len(locks) == 1:
            shutil.rmtree(tmp_path / "model.training")
            if ended_well:
                out.mkdir()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", the_first_training_ends_before)
    if ended_well:
        with pytest.raises(ValueError, match="exists already"), checkpoints(out, {}):
            pytest.fail("a model that is there was trained again")
    else:
        with checkpoints(out, {}), pytest.raises(ValueError, match="another process"), checkpoints(out, {}):
            pytest.fail("two trainings of one model")
    assert not (tmp_path / "model.training").exists()


def test_two_trainings_of_one_model_are_refused_before_they_begin(train: Train, tmp_path: Path) -> None:
    lines: list[str] = []
    refused = pytest.raises(ValueError, match="is being trained by another process")
    with checkpoints(tmp_path / "model", {}), refused:
        train(tmp_path / "model", lines=lines)
    assert not lines
    train(tmp_path / "model")


def test_a_folder_that_cannot_be_written_is_told_before_the_training(train: Train, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    lines: list[str] = []
    with pytest.raises(OSError, match="file"):
        train(tmp_path / "file" / "model", lines=lines)
    assert not lines


def test_a_full_disk_costs_what_was_not_saved_and_says_what_to_do(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = train(tmp_path / "whole")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(deepexp3d, "write_model", full)
        with pytest.raises(OSError, match=r"No space left .* run the same command again: the training is kept"):
            train(tmp_path / "model")
    resumed, _ = train(tmp_path / "model")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)

    saved = Checkpoints(tmp_path, {"seed": 1})
    saved.save(State(tensors={"a": torch.arange(3)}, progress={"steps": 3}))
    monkeypatch.setattr(storage, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left .*run the same command again: it goes on from what was saved"):
        saved.save(State(tensors={}, progress={}))
    found = saved.load()
    assert found is not None
    assert found.progress == {"steps": 3}
    np.testing.assert_array_equal(found.tensors["a"], [0, 1, 2])


def saved_at_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, save_s: float, until_s: int) -> list[float]:
    """When a training that asks after every second saves its state, if each time takes so long."""
    now_s, times_s = [0.0], []

    def written_slowly(*_: object) -> None:
        now_s[0] += save_s

    monkeypatch.setattr(storage, "write_bytes", written_slowly)
    saved = Checkpoints(tmp_path, {}, clock=lambda: now_s[0])
    while now_s[0] < until_s:
        now_s[0] += 1.0
        if saved.due():
            times_s.append(now_s[0])
            saved.save(State(tensors={}, progress={}))
    return times_s


def test_a_kill_costs_ten_seconds_a_tenth_of_the_training_or_five_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = saved_at_s(tmp_path, monkeypatch, save_s=0.0, until_s=7200)
    assert times_s[:3] == [10.0, 20.0, 30.0]
    for before_s, after_s in pairwise([0.0, *times_s]):
        assert after_s - before_s <= min(max(10.0, 0.1 * after_s + 1.0), 300.0)
    assert len(times_s) < 80


@pytest.mark.parametrize("save_s", [0.5, 30.0])
def test_saving_takes_a_fiftieth_of_the_time_however_slow_the_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_s: float
) -> None:
    until_s = 36_000
    times_s = saved_at_s(tmp_path, monkeypatch, save_s=save_s, until_s=until_s)
    assert times_s[0] == 10.0  # nobody knows yet how slow it is
    assert save_s <= save_s * len(times_s) < 0.02 * until_s + save_s


def test_the_best_weights_on_the_val_split_are_shipped_and_their_step_is_told(
    train: Train, stop: Stop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, seen = replace(OPTIONS, epochs=4), {}
    evaluate = deepexp3d.evaluate

    def third_is_best(network: torch.nn.Module, examples: Examples, *rest: object, **options: object) -> object:
        found = evaluate(network, examples, *rest, **options)
        if examples.split == "val":
            weights = {name: value.clone() for name, value in network.state_dict().items()}
            # The epoch is told by its weights: a training that goes on has evaluated fewer of them.
            known = next((epoch for epoch, other in seen.items() if same(weights, other)), len(seen))
            seen[known] = weights
            found = replace(found, vertex_error_mm=(3.0, 2.0, 1.0, 1.5)[known])
        return found

    monkeypatch.setattr(deepexp3d, "evaluate", third_is_best)
    lines: list[str] = []
    shipped, record = train(tmp_path / "whole", options, lines=lines)
    assert same(shipped, seen[2])
    assert not same(shipped, seen[3])
    assert (record["shipped_steps"], record["steps"], record["final"]["val"]["vertex_error_mm"]) == (9, 12, 1.0)
    assert [line.endswith("the best so far") for line in lines if line.startswith("epoch")] == [True, True, True, False]
    told = "after step 9 of 12, the best on the val split: vertex error 1.000 mm there, 1.500 mm after the last step"
    assert any(told in line for line in lines)

    stop(14, options)  # after the first step of the last epoch
    resumed, resumed_record = train(tmp_path / "model", options)
    assert same(shipped, resumed)
    assert resumed_record == record


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
