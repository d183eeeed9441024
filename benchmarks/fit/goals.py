"""What the fit must reach, and the line of JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

ICT_MEAN_FACE_MM, ICT_MEAN_EXPRESSION_MM = 2.52, 2.98
"""Errors of ICT-FaceKit's mean face and mean expression, for which the goals in mm are stated."""

Value = float | list[float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A value must lie in [least, most]."""

    least: float = float("-inf")
    most: float = float("inf")

    def reached(self, value: Value) -> bool:
        """Whether it does; a value that was not measured does not."""
        return isinstance(value, float) and self.least <= value <= self.most

    def text(self) -> str:
        """In words."""
        if self.least == float("-inf"):
            return f"at most {self.most:g}"
        if self.most == float("inf"):
            return f"at least {self.least:g}"
        return f"{self.least:g} to {self.most:g}"


def goals(mean_face_mm: float, mean_expression_mm: float) -> dict[str, Goal | None]:
    """A goal per key of the JSON line, in its order; None where the goal is another thing than a range.

    Goals in mm are shares of what the mean face has for errors on the model at hand.
    """
    identity, expression = mean_face_mm / ICT_MEAN_FACE_MM, mean_expression_mm / ICT_MEAN_EXPRESSION_MM
    return {
        "identity_similarity_mm": Goal(most=0.48 * identity),
        "identity_rigid_mm": Goal(most=1.0 * identity),
        "floor_ratio_identity": Goal(most=1.35),
        "expression_mm": Goal(most=0.82 * expression),
        "floor_ratio_expression": Goal(most=1.35),
        "nme_percent": Goal(most=0.49),
        "jitter_mm": Goal(most=0.55 * expression),
        "rotation_deg": Goal(most=0.52),
        "outlier_identity_similarity_mm": Goal(most=0.65 * identity),
        "outlier_identity_rigid_mm": Goal(most=1.8 * identity),
        "outlier_expression_mm": Goal(most=1.0 * expression),
        "outlier_size_ratio": Goal(least=0.97, most=1.03),
        "identity_by_frames": None,
        "size_ratio": Goal(least=0.97, most=1.03),
        "eos_ratio_expression": Goal(most=0.9),
        "eos_ratio_identity": Goal(most=0.9),
        "speedup_eos": Goal(least=90.0),
        "speedup_adam1000": Goal(least=40.0),
        "ms_per_frame": Goal(most=0.2),
        "fraction_of_limit": Goal(least=0.2),
        "scipy_cost_gap": Goal(most=1e-4),
        "jacobian_gap": Goal(most=1e-6),
        "sigma_z": Goal(least=0.8, most=1.25),
    }


FALLS_BY_FRAMES = 1.03
"""More frames may make the identity worse by this factor at most, for noise."""


def falls(errors: list[float]) -> bool:
    """Whether errors fall at every step, but for noise."""
    return all(later <= FALLS_BY_FRAMES * earlier for earlier, later in pairwise(errors))


def print_goals(values: Mapping[str, Value], wanted: Mapping[str, Goal | None]) -> bool:
    """Each value beside its goal; returns whether all measured ones are reached."""
    print(f"\n{'':34}{'value':>24}   goal")
    all_reached = True
    for key, goal in wanted.items():
        value = values[key]
        if value is None:
            print(f"{key:34}{'not measured':>24}")
            continue
        if isinstance(value, list):
            reached, shown, text = falls(value), " ".join(f"{v:.3f}" for v in value), "falls at every step"
        else:
            reached, shown = goal is not None and goal.reached(value), f"{value:.4g}"
            text = goal.text() if goal is not None else ""
        all_reached &= reached
        print(f"{key:34}{shown:>24}   {text}: {'reached' if reached else 'NOT REACHED'}")
    return all_reached
