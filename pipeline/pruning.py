"""Which tracks and frames are kept, and for the others the reason why not; rows are marked, never left out."""

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from facevid.keep import EXAMPLE, Keep, KeepError, parse_keep
from facevid.schema import frames_schema
from pipeline.config import PruneOptions
from pipeline.items import TrackSummary

NOT_SEEN = "not_seen"
"""The reason of frames in which the face was missed and bridged."""


def pruned(summary: TrackSummary, options: PruneOptions) -> str | None:
    """Why a track is not kept: the name of the first criterion that it fails, or None (Koujan et al., FG 2020)."""
    if not summary.identity_norm <= options.max_identity_norm:
        return "identity_norm"
    if not summary.reprojection_error <= options.max_reprojection_error:
        return "reprojection_error"
    return None


def keep_filter(options: PruneOptions) -> Keep | None:
    """What `PruneOptions.keep` asks for; None where it is empty.

    Raises:
        KeepError: It cannot be read, or names another than the numbers of the frames table.
    """
    if not options.keep.strip():
        return None
    # Lengths of vectors differ between models, but only single numbers may be named.
    keep = parse_keep(options.keep, frames_schema(points=1, n_expression=1))
    if "kept" in keep.columns:
        raise KeepError(f"keep={options.keep!r} names 'kept', which is what it decides. Example: {EXAMPLE}")
    return keep


def filtered_reasons(
    track: TrackSummary, confidence: Float32[np.ndarray, " frames"], frames: pa.Table, options: PruneOptions
) -> list[str | None]:
    """For each frame why it is not kept: for its track, for not being seen, or for the first rule that it fails.

    Args:
        track: What is known of the whole track.
        confidence: The detector's score in each of some frames of it; 0 where it missed the face.
        frames: Their rows of the frames table.
        options: The criteria.
    """
    if reason := pruned(track, options):
        return [reason] * frames.num_rows
    keep = keep_filter(options)
    failed = keep.first_failed(frames) if keep else np.zeros(frames.num_rows, np.int64)
    names = [*(rule.text for rule in keep.rules), None] if keep else [None]
    seen = confidence > 0
    return [names[rule] if here else NOT_SEEN for rule, here in zip(failed.tolist(), seen.tolist(), strict=True)]
