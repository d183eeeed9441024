"""Whether the face model goes out with a release: its own licence decides, which many do not let anybody hand on."""

import re

from facevid.description import DatasetDescription

_FREE = re.compile(
    r"cc0([ -]1\.0)?|mit|apache([ -]2\.0)?|bsd([ -][0-3]-clause)?|cc[ -]by([ -][1-4]\.0)?", re.IGNORECASE
)
"""CC-BY-NC and its like, and words that only begin like one of these, are none of them."""


def model_goes_out(about: DatasetDescription, *, with_model: bool) -> bool:
    """Whether the face model goes out.

    Args:
        about: The dataset.
        with_model: Whoever publishes it says that it may.
    """
    return with_model or (about.with_face_model and _FREE.fullmatch(about.face_model_licence.strip()) is not None)
