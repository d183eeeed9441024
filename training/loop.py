"""The optimisation of DeepExp3D: steps, learning rate, and where it stands."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float32

from fitting.face_model import FaceModel
from training.augment import Augmentation
from training.checkpoint import State
from training.config import TrainOptions
from training.examples import Examples
from training.loader import Batch, training_batches
from training.losses import label_weights, mean_expression_loss_mm2, squared_vertex_error_mm2
from training.mirror import mirror_operator
from training.networks import ExpressionNetwork
from training.order import epoch_size

_WARM_UP = 0.05
_MAX_GRADIENT_NORM = 5.0
_NORMALISATION_BATCHES = 8
_REPORT_EVERY_S = 5.0


class TrainingLoop:
    """The optimiser's state and its progress.

    Args:
        network: What is trained.
        train: Its examples.
        model: The face model of their labels.
        gram_mm2: See `training.losses`.
        options: How.
        device: Where.
        report: Receives progress lines.
        after_step: Called after every step, when all state is that of one moment.
        around_steps: Entered for the steps of an epoch.

    Attributes:
        steps: Optimiser steps made.
        total_steps: Optimiser steps to make.
        epoch: Index of the epoch that is under way, or comes next.
        crops: Crops trained on, each as often as it was shown.
        mean_expression_loss_mm2: Loss of always saying the mean expression, on crops that are not augmented.
    """

    def __init__(
        self, *, network: ExpressionNetwork, train: Examples, model: FaceModel,
        gram_mm2: Float32[np.ndarray, "n_expression n_expression"], options: TrainOptions, device: torch.device,
        report: Callable[[str], None], after_step: Callable[[], None] = lambda: None,
        around_steps: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._after_step, self._around_steps = after_step, around_steps
        self._network, self._train, self._options = network, train, options
        self._device, self._report = device, report
        self._gram_mm2 = torch.from_numpy(gram_mm2).to(device)
        weights = label_weights(train.expression_sigma, gram_mm2)
        self._weights = weights if options.label_uncertainty else np.ones_like(weights)
        self.mean_expression_loss_mm2 = mean_expression_loss_mm2(train.expression, self._weights, gram_mm2)
        self._mirror = mirror_operator(model) if options.augment else None
        if options.augment and self._mirror is None:
            report("the face model has no mirror symmetry: crops are not flipped")
        self._per_epoch = max(1, epoch_size(train, options.crops_per_track) // options.batch_size)
        all_steps = options.epochs * self._per_epoch
        self.total_steps = min(all_steps, options.max_steps or all_steps)
        self.steps = self.epoch = 0
        self._batches_done, self._loss_sum = 0, 0.0
        self.crops = 0
        self._busy_s = self._waited_s = 0.0
        self._optimiser = torch.optim.AdamW(_parameter_groups(network, options), lr=options.learning_rate)

    @property
    def done(self) -> bool:
        """Whether all steps are made."""
        return self.steps >= self.total_steps

    @property
    def at_epoch_end(self) -> bool:
        """Whether the epoch under way has made its last step, and has not been yielded."""
        return self._batches_done == self._per_epoch or (self.done and self._batches_done > 0)

    @property
    def crops_per_s(self) -> float:
        """Rate of training so far, evaluation left out."""
        return self.crops / self._busy_s if self._busy_s else 0.0

    @property
    def waiting(self) -> float:
        """Share of that time in which no crop was ready: more `workers`, or a faster disk, would save it."""
        return self._waited_s / self._busy_s if self._busy_s else 0.0

    def epochs(self) -> Iterator[tuple[int, float]]:
        """Train epoch by epoch; yields its index and its mean loss, mm^2.

        An epoch of which all steps were made before the state was saved is yielded too: its end is yet to come.
        """
        while not self.done or self._batches_done:
            if not self.done:
                with self._around_steps():
                    self._rest_of_epoch()
            ended, loss = self.epoch, self._loss_sum / self._batches_done
            self.epoch, self._batches_done, self._loss_sum = ended + 1, 0, 0.0
            yield ended, loss

    def _rest_of_epoch(self) -> None:
        self._network.train()
        began_s = reported_s = time.monotonic()
        for batch in self._batches(self.epoch, first=self._batches_done):
            self._waited_s += time.monotonic() - began_s
            loss = self._step(batch)
            self._loss_sum += loss
            self._batches_done += 1
            now_s = time.monotonic()
            self._busy_s += now_s - began_s
            began_s = now_s
            self._after_step()
            if now_s - reported_s >= _REPORT_EVERY_S:
                reported_s = now_s
                self._report(self._progress(loss))
            if self.done:
                break

    def state(self) -> State:
        """All that decides how the training goes on."""
        tensors = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        for number, parts in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in parts.items()}
        progress = {
            "steps": self.steps, "epoch": self.epoch, "batches_done": self._batches_done, "loss_sum": self._loss_sum,
            "crops": self.crops, "busy_s": self._busy_s, "waited_s": self._waited_s,
        }  # fmt: skip
        return State(tensors={name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                     progress=progress)

    def restore(self, state: State) -> None:
        """Go on from a state; the steps that follow are those that would have followed.

        Raises:
            ValueError: It is that of another network.
        """
        parts: dict[int, dict[str, torch.Tensor]] = {}
        weights = {}
        for name, value in state.tensors.items():
            owner, _, rest = name.partition(".")
            if owner == "network":
                weights[rest] = value
            else:
                number, _, part = rest.partition(".")
                parts.setdefault(int(number), {})[part] = value
        try:
            self._network.load_state_dict(weights)
            self._optimiser.load_state_dict(self._optimiser.state_dict() | {"state": parts})
            found = state.progress
            self.steps, self.epoch, self._batches_done = found["steps"], found["epoch"], found["batches_done"]
            self._loss_sum, self.crops = found["loss_sum"], found["crops"]
            self._busy_s, self._waited_s = found["busy_s"], found["waited_s"]
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"what was saved of this training is another network's: {error}") from error

    def settle_normalisation(self, epoch: int) -> None:
        """Set the statistics of batch normalisation to those of the present weights; call it before an evaluation.

        The running averages belong to weights of many steps ago; in a short training that spoils the evaluation
        (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3: PreciseBN).
        """
        layers = [layer for layer in self._network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain average over all batches
        self._network.train()
        batches = self._batches(epoch)
        with torch.no_grad():
            for batch in islice(batches, _NORMALISATION_BATCHES):
                self._network(torch.from_numpy(batch.crops).to(self._device))
        batches.close()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

    def _batches(self, epoch: int, *, first: int = 0) -> Generator[Batch]:
        options = self._options
        augmentation = Augmentation(seed=options.seed, epoch=epoch, mirror=self._mirror) if options.augment else None
        return training_batches(self._train, seed=options.seed, epoch=epoch, batch_size=options.batch_size,
                                crops_per_track=options.crops_per_track, augmentation=augmentation,
                                workers=options.threads, first=first)

    def _step(self, batch: Batch) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._options.learning_rate * _schedule(self.steps, self.total_steps)
        crops = torch.from_numpy(batch.crops).to(self._device, non_blocking=True)
        labels = torch.from_numpy(batch.expression).to(self._device, non_blocking=True)
        weights = torch.from_numpy(self._weights[batch.examples]).to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            predicted = self._network(crops)
        loss = (weights * squared_vertex_error_mm2(predicted.float(), labels, self._gram_mm2)).mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), max_norm=_MAX_GRADIENT_NORM)
        self._optimiser.step()
        self.steps += 1
        self.crops += len(batch.crops)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {self.steps}; lower --learning-rate={self._options.learning_rate}"
            )
        return value

    def _progress(self, loss: float) -> str:
        left_s = (self.total_steps - self.steps) * self._busy_s / self.steps
        left = f"{left_s:.0f} s" if left_s < 120 else f"{math.ceil(left_s / 60)} min"
        return (
            f"step {self.steps} of {self.total_steps}: loss {loss:.3f} mm^2, "
            f"{self.crops_per_s:.0f} crops/s, {self.waiting:.0%} of the time waiting for crops, {left} left"
        )


def _schedule(step: int, total: int) -> float:
    """Linear warm-up, then a cosine to zero; a factor of the peak learning rate for a step counted from 0."""
    warm_up = max(1, round(_WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (step + 1 - warm_up) / max(1, total - warm_up)))


def _parameter_groups(network: ExpressionNetwork, options: TrainOptions) -> list[dict[str, object]]:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
