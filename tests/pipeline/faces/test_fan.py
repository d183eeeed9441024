"""FAN with placeholder weights: its arithmetic, its batches, and the errors about weights that are not there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from facevid import assets
from pipeline.faces.fan import WEIGHTS_FILE, FanDetector, weights_path
from pipeline.faces.fan_network import FaceAlignmentNetwork, peaks, with_mirror_image
from pipeline.faces.landmarks import LandmarkDetector, detector_sha256, open_detector
from pipeline.faces.options import FacesOptions
from pipeline.faces.picture import Picture
from pipeline.faces.regions import FaceRegion
from pipeline.faces.schemes import IBUG68_MIRROR

OPTIONS = FacesOptions(detector="face_alignment", scheme="ibug68")
REGION = FaceRegion(x=210.0, y=150.0, side_px=192.0, angle_rad=0.0)


class BrightSpots(torch.nn.Module):
    """The jaw lies where red is brightest, all other points where green is."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        small = functional.avg_pool2d(pictures, 4)
        return torch.cat([small[:, :1].expand(-1, 17, -1, -1), small[:, 1:2].expand(-1, 51, -1, -1)], dim=1)


def spots(red: tuple[float, float], green: tuple[float, float]) -> Picture:
    rows, columns = np.mgrid[:300, :400]
    rgb = np.zeros((300, 400, 3), np.uint8)
    for channel, (x, y) in enumerate((red, green)):
        rgb[..., channel] = np.round(200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 200))
    return Picture(rgb)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as torch has it, with placeholder weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("torch")
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(FaceAlignmentNetwork().state_dict(), folder / "hub" / "checkpoints" / WEIGHTS_FILE)
    return folder


@pytest.fixture
def detector(home: Path, monkeypatch: pytest.MonkeyPatch) -> FanDetector:
    monkeypatch.setenv("TORCH_HOME", str(home))
    return open_detector(OPTIONS, assets.fetch_landmark_networks())


def test_a_peak_leans_by_a_quarter_cell_towards_its_higher_neighbours() -> None:
    maps = torch.zeros(1, 68, 64, 64)
    maps[0, 0, 20, 30], maps[0, 0, 20, 31], maps[0, 0, 19, 30] = 1.0, 0.5, 0.25
    maps[0, 1, 0, 63], maps[0, 1, 0, 62] = 0.75, 0.5  # at the border nothing leans
    maps[0, 2, 40, 10] = 1.0  # no higher neighbour
    at, height = peaks(maps)
    assert at[0, :3].tolist() == [[30.75, 20.25], [63.5, 0.5], [10.5, 40.5]]
    assert height[0, :3].tolist() == [1.0, 0.75, 1.0]


def test_the_mirror_image_of_a_picture_has_the_mirror_image_of_its_maps() -> None:
    torch.manual_seed(1)
    network, mirror = FaceAlignmentNetwork().eval(), list(IBUG68_MIRROR)
    picture = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        straight, mirrored = (with_mirror_image(network, p, mirror) for p in (picture, picture.flip(3)))
    torch.testing.assert_close(mirrored[:, mirror].flip(3), straight, rtol=0, atol=1e-4)


def test_landmarks_lie_in_the_picture_where_the_maps_are_high(detector: FanDetector) -> None:
    detector._network = BrightSpots()
    red, green = (180.0, 120.0), (231.0, 171.0)
    face = detector.landmarks(spots(red, green), REGION)
    assert face is not None
    cell_px = REGION.side_px / 64
    assert np.abs(face.points_px[:17] - red).max() <= cell_px / 2
    assert np.abs(face.points_px[17:] - green).max() <= cell_px / 2
    assert face.scheme == "ibug68"
    assert face.confidence == pytest.approx(0.78, abs=0.05)
    # The next look: 200/195 of width plus height, a little above the middle.
    x0, y0, x1, y1 = face.box_px.tolist()
    assert face.region.side_px == pytest.approx(200 / 195 * (x1 - x0 + y1 - y0))
    assert face.region.y == pytest.approx((y0 + y1) / 2 - 0.12 * (y1 - y0))


def test_points_on_one_spot_are_no_face(detector: FanDetector) -> None:
    detector._network = BrightSpots()
    assert detector.landmarks(spots((200.0, 150.0), (200.0, 150.0)), REGION) is None


def test_faces_of_several_pictures_in_one_batch_are_those_of_each_alone(detector: FanDetector) -> None:
    draw = np.random.default_rng(0)
    pictures = [Picture(draw.integers(0, 256, (300, 400, 3)).astype(np.uint8)) for _ in range(3)]
    places = ((150.0, 200.0), (220.0, 120.0), (200.0, 260.0))
    regions = [FaceRegion(x=x, y=150.0, side_px=side, angle_rad=0.0) for x, side in places]
    looks = list(zip(pictures, regions, strict=True))
    together = detector.landmarks_of(looks)
    for face, look in zip(together, looks, strict=True):
        alone = detector.landmarks(*look)
        np.testing.assert_allclose(face.points_px, alone.points_px, atol=1e-3)
        assert face.confidence == pytest.approx(alone.confidence, abs=1e-5)
    assert detector.landmarks_of([]) == []


def test_it_is_a_detector_with_the_hash_of_its_weights(detector: FanDetector) -> None:
    assert isinstance(detector, LandmarkDetector)
    assert (detector.name, detector.scheme) == ("face_alignment", "ibug68")
    assert detector_sha256(OPTIONS, assets.fetch_landmark_networks()) == detector.weights_sha256


def test_missing_weights_are_named_with_the_place_where_they_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    message = rf"needs 3DFAN4-7835d9f11d\.pth\.tar, which is not at {tmp_path}/hub/checkpoints/.*; download https://"
    with pytest.raises(FileNotFoundError, match=message):
        detector_sha256(OPTIONS, tmp_path)
    with pytest.raises(FileNotFoundError, match=message):
        open_detector(OPTIONS, assets.fetch_landmark_networks())


@pytest.mark.parametrize("content", [b"", b"no weights at all", "other"])
def test_weights_of_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights_path().parent.mkdir(parents=True)
    if isinstance(content, bytes):
        weights_path().write_bytes(content)
    else:
        torch.save({"conv1.weight": torch.zeros(3)}, weights_path())
    with pytest.raises(ValueError, match=r"holds no weights of 3DFAN-4"):
        open_detector(OPTIONS, assets.fetch_landmark_networks())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "face_alignment"}, "detector='face_alignment' does not give scheme='mediapipe68'"),
        ({"scheme": "ibug68"}, "detector='mediapipe' does not give scheme='ibug68'"),
        ({"detector_device": "cuda"}, "detector_device='cuda': mediapipe runs on the CPU"),
        ({"detector_precision": "float16"}, "detector_precision='float16' is for detector_device='cuda'"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FacesOptions(**options)


def test_maps_and_peaks_are_those_of_the_library() -> None:
    pytest.importorskip("face_alignment", reason="pip install --no-deps face-alignment==1.5.0, numba, scikit-image")
    from face_alignment.models import FAN
    from face_alignment.utils import flip, get_preds_fromhm

    torch.manual_seed(2)
    theirs, ours = FAN(4).eval(), FaceAlignmentNetwork().eval()
    ours.load_state_dict(theirs.state_dict())
    pictures = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        expected = theirs(pictures)[-1] + flip(theirs(flip(pictures))[-1], is_label=True)
        found = 2 * with_mirror_image(ours, pictures, list(IBUG68_MIRROR))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    places, _, heights = get_preds_fromhm(expected.numpy().copy())
    at, height = peaks(found)
    np.testing.assert_allclose(at.numpy(), places, atol=1e-3 * 64 / 256)
    np.testing.assert_allclose(height.numpy(), heights, atol=1e-4)
