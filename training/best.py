"""The weights that a training ships: those of the evaluation that found the smallest error on the val split."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from training.checkpoint import State
from training.networks import ExpressionNetwork

_PREFIX = "best."


@dataclass(slots=True)
class BestWeights:
    """Keeps a copy of the best weights so far.

    Attributes:
        steps: Optimiser steps after which they were evaluated; None before the first evaluation.
        vertex_error_mm: Their mean vertex error on the val split, mm.
    """

    steps: int | None = None
    vertex_error_mm: float = math.inf
    _weights: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def offer(self, network: ExpressionNetwork, *, steps: int, vertex_error_mm: float) -> bool:
        """Whether the network's weights are the best so far; then they are copied. Of two as good, the earlier ones.

        Args:
            network: As it was evaluated, statistics of normalisation included.
            steps: Optimiser steps made.
            vertex_error_mm: On the val split. What is not a number is never the best.
        """
        if not vertex_error_mm < self.vertex_error_mm:
            return False
        self.steps, self.vertex_error_mm = steps, vertex_error_mm
        self._weights = {name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()}
        return True

    def put_into(self, network: ExpressionNetwork) -> None:
        """Set the network to the best weights; without any evaluation it stays as it is."""
        if self.steps is not None:
            network.load_state_dict(self._weights)

    def added_to(self, state: State) -> State:
        """A training's state with the best weights beside the present ones."""
        if self.steps is None:
            return state
        tensors = {f"{_PREFIX}{name}": value.contiguous() for name, value in self._weights.items()}
        found = {"steps": self.steps, "vertex_error_mm": self.vertex_error_mm}
        return State(tensors={**state.tensors, **tensors}, progress={**state.progress, "best": found})

    def taken_from(self, state: State) -> State:
        """Take up what `added_to` added; gives the state without it.

        Raises:
            KeyError: The state names the best weights but lacks what is known of them.
        """
        weights = {name.removeprefix(_PREFIX): v for name, v in state.tensors.items() if name.startswith(_PREFIX)}
        if weights:
            found = state.progress["best"]
            self.steps, self.vertex_error_mm = int(found["steps"]), float(found["vertex_error_mm"])
            self._weights = weights
        return replace(state, tensors={n: v for n, v in state.tensors.items() if not n.startswith(_PREFIX)})
