"""What is known of the detectors' errors against FaceVid-CC0: numbers per landmark, from the faces of six videos.

`detectors.json` holds them. They are written by `write_detectors` from what `facevid model calibrate` made of datasets
of those videos (see `fitting/data/README.md`), without the expression's covariance: for that, six faces are too few.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fitting.calibration import DetectorCalibration, check_calibration

DETECTORS_PATH = Path(__file__).parent / "detectors.json"
_OFFSET_DIGITS, _RATIO_DIGITS = 2, 3


def read_detectors() -> dict[str, DetectorCalibration]:
    """The calibration of each scheme.

    Raises:
        ValueError: The file holds what no detector does.
    """
    read = {}
    for scheme, known in json.loads(DETECTORS_PATH.read_text("utf-8")).items():
        read[scheme] = DetectorCalibration(
            offset_mm=np.array(known["offset_mm"], dtype=np.float32),
            noise_ratio=np.array(known["noise_ratio"], dtype=np.float32),
            bias_ratio=np.array(known["bias_ratio"], dtype=np.float32),
            faces=int(known["faces"]),
        )
        check_calibration(read[scheme])
    return read


def write_detectors(calibrations: Mapping[str, DetectorCalibration]) -> None:
    """Replace the file.

    Args:
        calibrations: By scheme.
    """
    plain = {
        scheme: {
            "faces": known.faces,
            "offset_mm": _rounded(known.offset_mm, _OFFSET_DIGITS),
            "noise_ratio": _rounded(known.noise_ratio, _RATIO_DIGITS),
            "bias_ratio": _rounded(known.bias_ratio, _RATIO_DIGITS),
        }
        for scheme, known in sorted(calibrations.items())
    }
    DETECTORS_PATH.write_text(json.dumps(plain, sort_keys=True) + "\n", "utf-8")


def _rounded(array: np.ndarray, digits: int) -> object:
    return np.round(array.astype(np.float64), digits).tolist()
