from dataclasses import replace

import pytest

from facevid.keep import KeepError
from pipeline.config import PruneOptions
from pipeline.items import TrackSummary
from pipeline.pruning import keep_filter, pruned

PRUNE = PruneOptions(max_identity_norm=5.0, max_reprojection_error=0.05)


@pytest.mark.parametrize(
    ("norm", "error", "reason"),
    [
        (5.0, 0.05, None), (5.1, 0.01, "identity_norm"), (1.0, 0.051, "reprojection_error"),
        (9.0, 9.0, "identity_norm"), (float("nan"), 0.01, "identity_norm"), (1.0, float("inf"), "reprojection_error"),
    ],
)
def test_pruning_names_the_first_criterion_that_fails(norm: float, error: float, reason: str | None) -> None:
    summary = TrackSummary(
        status="converged", frames=4, observed_frames=4, identity_norm=norm, reprojection_error=error
    )
    assert pruned(summary, PRUNE) == reason


def test_what_keep_decides_is_nothing_that_it_may_ask() -> None:
    with pytest.raises(KeepError, match="names 'kept', which is what it decides"):
        keep_filter(replace(PRUNE, keep="sharpness > 0.2 and kept"))
    assert keep_filter(replace(PRUNE, keep="  ")) is None
