"""What must be reached, by key."""

from dataclasses import dataclass

GOALS: dict[str, tuple[str, float]] = {
    "cut_recall_hard": (">=", 1.0),
    "cut_recall_dissolve": (">=", 0.9),
    "cut_precision": (">=", 0.95),
    "two_faces_tracks": ("==", 2),
    "identity_swaps": ("==", 0),
    "pip4_found": (">=", 0.95),
    "pip8_found": (">=", 0.80),
    "occlusion_auc": (">=", 0.8),
    "landmark_stability": ("<=", 0.02),
    "jitter_ratio": ("<=", 1 / 3),
    "blink_depth_kept": (">=", 0.85),
    "kept_lids_apart": ("<=", 0.01),
    "frames_per_s_core": (">=", 130),
    "overhead_ratio": ("<=", 1.1),
    "limit_ratio": (">=", 0.5),
    "decode_ratio": (">=", 0.9),
    "decode_rgb_ratio": (">=", 0.7),
    "scaling_ratio": (">=", 0.9),
    "peak_rss_mib": ("<=", 800),
    "memory_growth_mib": ("<=", 50),
    "hour_peak_mib": ("<=", 800),
}
"""`decode_ratio` is that of planes, `decode_rgb_ratio` that of whole pictures converted to RGB; `scaling_ratio` is the
speed of 2 workers over 1, as a share of what two processes that share nothing gain on the same machine;
`limit_ratio` is the share of the time that decoder and networks alone would take;
`landmark_stability` is the worst median of the moderate changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One value beside its goal; `value` is None where it was not measured."""

    key: str
    value: float | None
    sign: str
    goal: float

    @property
    def reached(self) -> bool:
        if self.value is None:
            return False
        match self.sign:
            case ">=":
                return self.value >= self.goal
            case "<=":
                return self.value <= self.goal
        return self.value == self.goal

    @property
    def word(self) -> str:
        return "not measured" if self.value is None else "reached" if self.reached else "NOT REACHED"


def verdicts(values: dict[str, float]) -> list[Verdict]:
    """Every goal with what was measured.

    Raises:
        ValueError: A value has no goal: a misspelt key would be lost.
    """
    if strange := values.keys() - GOALS.keys():
        raise ValueError(f"values={sorted(strange)} have no goal")
    return [
        Verdict(key=key, value=values.get(key), sign=sign, goal=goal) for key, (sign, goal) in GOALS.items()
    ]
