"""Landmarks by FAN, the detector of the paper's time: the iBUG 68 points, many faces in one batch, for GPUs.

The weights are `3DFAN-4` of face-alignment 1.5.0: the 68 points of the head as seen in the picture, the far side of a
turned face included, as a 3D model wants them (`2DFAN-4` follows the visible outline instead). They are not part of
this program: https://www.adrianbulat.com/downloads/python-fan/ has them. The library is under the BSD 3-clause licence;
its weights come without a licence of their own, and were trained on 300W-LP, whose pictures are for research. Faces are
found by the same networks as for mediapipe. The library cuts its landmarks to whole pixels; these are not cut.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError  # only the error: nothing is unpickled

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from pipeline.faces.detect import FaceFinder
from pipeline.faces.fan_network import HEAT_MAP_PX, INPUT_PX, FaceAlignmentNetwork, peaks, with_mirror_image
from pipeline.faces.landmarks import FaceLandmarks
from pipeline.faces.options import Device, Precision
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceBox, FaceRegion, look_into, mapped
from pipeline.faces.schemes import IBUG68_MIRROR
from pipeline.faces.search import SearchWindow

WEIGHTS_FILE = "3DFAN4-7835d9f11d.pth.tar"
_URL = f"https://www.adrianbulat.com/downloads/python-fan/{WEIGHTS_FILE}"
# The library's framing: a square of 200/195 of width plus height of the box, moved up by 0.12 of its height.
_GROWTH = 200.0 / 195.0
_UP = 0.12
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class FanDetector:
    """FAN on faces that BlazeFace finds.

    Args:
        networks: Folder with the face detection networks.
        weights: The weights' file.
        device: Where the network runs.
        precision: What it computes with; other than float32 by autocast, on CUDA only.

    Raises:
        FileNotFoundError: The weights are missing; the message says where they belong.
        ValueError: The file holds other weights, or the device is not there.
    """

    name = "face_alignment"
    scheme = "ibug68"

    def __init__(
        self, networks: Path, weights: Path, *, device: Device = "cpu", precision: Precision = "float32"
    ) -> None:
        require_weights(weights)
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("detector_device='cuda', but torch sees no CUDA device; give 'cpu'")
        self._find = FaceFinder(networks)
        self._network = FaceAlignmentNetwork()
        try:
            self._network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except (RuntimeError, KeyError, TypeError, AttributeError, EOFError, UnpicklingError) as error:
            raise ValueError(f"{weights} holds no weights of 3DFAN-4: {str(error)[:300]}") from error
        self._network.to(device).eval()
        self._device, self._dtype = torch.device(device), _DTYPES[precision]
        self.weights_sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()

    def find_faces(self, picture: Picture, window: SearchWindow | None = None) -> list[FaceBox]:
        """All faces of a picture, the largest first; with a window, those in it."""
        return self._find(picture, window)

    def region_of(self, box: FaceBox) -> FaceRegion:
        """The upright square that the network was trained to look into."""
        return _region(box.x0, box.y0, box.x1, box.y1)

    def landmarks(self, picture: Picture, region: FaceRegion) -> FaceLandmarks | None:
        """The landmarks of the face in a region; the mean height of the heat maps is their confidence."""
        return self.landmarks_of([(picture, region)])[0]

    @torch.inference_mode()
    def landmarks_of(self, looks: Sequence[tuple[Picture, FaceRegion]]) -> list[FaceLandmarks | None]:
        """The landmarks of many faces, of one picture or of many; on a GPU in one batch.

        Args:
            looks: Pictures and where to look in them.

        Returns:
            One result for each look; None where the points do not span a face's area.
        """
        if not looks:
            return []
        squares, to_frame = zip(*(look_into(picture, region, INPUT_PX) for picture, region in looks), strict=True)
        # A CPU gains nothing by batches, and loses what fits its caches.
        at_once = len(squares) if self._device.type == "cuda" else 1
        parts = [self._peaks_of(squares[k : k + at_once]) for k in range(0, len(squares), at_once)]
        cells, heights = (np.concatenate(part) for part in zip(*parts, strict=True))
        # Cells count from the edge of the map; pixel centres of the square lie half a pixel from its edge.
        places = cells * np.float32(INPUT_PX / HEAT_MAP_PX) - np.float32(0.5)
        return [
            _face(mapped(own, there), float(high.mean()))
            for own, high, there in zip(places, heights, to_frame, strict=True)
        ]

    def _peaks_of(
        self, squares: Sequence[UInt8[np.ndarray, "256 256 3"]]
    ) -> tuple[Float32[np.ndarray, "faces 68 2"], Float32[np.ndarray, "faces 68"]]:
        pictures = torch.from_numpy(np.stack(squares)).to(self._device).permute(0, 3, 1, 2).float() / 255
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32):
            maps = with_mirror_image(self._network, pictures, list(IBUG68_MIRROR))
        cells, heights = (part.cpu().numpy() for part in peaks(maps.float()))
        return cells, heights


def weights_path() -> Path:
    """Where torch keeps weights: `$TORCH_HOME/hub/checkpoints`, or below `~/.cache/torch`."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE


def require_weights(weights: Path) -> None:
    """See that the weights are there.

    Raises:
        FileNotFoundError: They are not; says where to get them and where to put them.
    """
    if not weights.is_file():
        raise FileNotFoundError(
            f"detector='face_alignment' needs {WEIGHTS_FILE}, which is not at {weights}; download {_URL} to there"
        )


def _face(points_px: Float32[np.ndarray, "68 2"], height: float) -> FaceLandmarks | None:
    (x0, y0), (x1, y1) = points_px.min(axis=0).tolist(), points_px.max(axis=0).tolist()
    if not np.isfinite(points_px).all() or x1 - x0 < 1 or y1 - y0 < 1:
        return None
    return FaceLandmarks(
        scheme=FanDetector.scheme,
        points_px=points_px,
        confidence=min(max(height, 0.0), 1.0),
        box_px=np.array([x0, y0, x1, y1], dtype=np.float32),
        region=_region(x0, y0, x1, y1),
    )


def _region(x0: float, y0: float, x1: float, y1: float) -> FaceRegion:
    wide, high = x1 - x0, y1 - y0
    return FaceRegion(
        x=(x0 + x1) / 2, y=(y0 + y1) / 2 - _UP * high, side_px=_GROWTH * (wide + high), angle_rad=0.0
    )
