"""The face alignment network (FAN), so that its published weights can be loaded without its library.

Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D Face Alignment problem?", ICCV 2017: four stacked
hourglasses (Newell et al., ECCV 2016) of parallel multi-scale blocks. Layers are named as in the weights of
face-alignment 1.5.0 (https://github.com/1adrianb/face-alignment, BSD 3-clause, (c) 2017 Adrian Bulat).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

POINTS = 68
INPUT_PX = 256
HEAT_MAP_PX = 64
_FEATURES = 256
_HOURGLASSES = 4
_DEPTH = 4


class _Block(nn.Module):
    """Three convolutions whose results are joined, and the input added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        sizes = (inputs, outputs // 2, outputs // 4, outputs // 4)
        for k in (1, 2, 3):
            self.add_module(f"bn{k}", nn.BatchNorm2d(sizes[k - 1]))
            self.add_module(f"conv{k}", nn.Conv2d(sizes[k - 1], sizes[k], 3, padding=1, bias=False))
        self.downsample: nn.Sequential | None = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        parts, last = [], x
        for k in (1, 2, 3):
            last = self.get_submodule(f"conv{k}")(functional.relu(self.get_submodule(f"bn{k}")(last)))
            parts.append(last)
        aside: Tensor = x if self.downsample is None else self.downsample(x)
        return torch.cat(parts, dim=1) + aside


class _Hourglass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for level in range(1, _DEPTH + 1):
            for name in ("b1", "b2", "b3"):
                self.add_module(f"{name}_{level}", _Block(_FEATURES, _FEATURES))
        self.add_module("b2_plus_1", _Block(_FEATURES, _FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return self._at(_DEPTH, x)

    def _at(self, level: int, x: Tensor) -> Tensor:
        low = self.get_submodule(f"b2_{level}")(functional.avg_pool2d(x, 2))
        low = self._at(level - 1, low) if level > 1 else self.get_submodule("b2_plus_1")(low)
        low = self.get_submodule(f"b3_{level}")(low)
        side: Tensor = self.get_submodule(f"b1_{level}")(x)
        return side + functional.interpolate(low, scale_factor=2, mode="nearest")


class FaceAlignmentNetwork(nn.Module):
    """Pictures of a face to one heat map for each of the 68 points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2, self.conv3, self.conv4 = _Block(64, 128), _Block(128, 128), _Block(128, _FEATURES)
        for k in range(_HOURGLASSES):
            self.add_module(f"m{k}", _Hourglass())
            self.add_module(f"top_m_{k}", _Block(_FEATURES, _FEATURES))
            self.add_module(f"conv_last{k}", nn.Conv2d(_FEATURES, _FEATURES, 1))
            self.add_module(f"bn_end{k}", nn.BatchNorm2d(_FEATURES))
            self.add_module(f"l{k}", nn.Conv2d(_FEATURES, POINTS, 1))
            if k < _HOURGLASSES - 1:
                self.add_module(f"bl{k}", nn.Conv2d(_FEATURES, _FEATURES, 1))
                self.add_module(f"al{k}", nn.Conv2d(POINTS, _FEATURES, 1))

    def forward(self, pictures: Float[Tensor, "batch 3 256 256"]) -> Float[Tensor, "batch 68 64 64"]:
        """Heat maps of the last hourglass.

        Args:
            pictures: RGB, 0 to 1.
        """
        x = functional.relu(self.bn1(self.conv1(pictures)))
        x = self.conv4(self.conv3(functional.avg_pool2d(self.conv2(x), 2)))
        for k in range(_HOURGLASSES):
            y = self.get_submodule(f"top_m_{k}")(self.get_submodule(f"m{k}")(x))
            y = functional.relu(self.get_submodule(f"bn_end{k}")(self.get_submodule(f"conv_last{k}")(y)))
            maps: Tensor = self.get_submodule(f"l{k}")(y)
            if k < _HOURGLASSES - 1:
                x = x + self.get_submodule(f"bl{k}")(y) + self.get_submodule(f"al{k}")(maps)
        return maps


def peaks(
    maps: Float[Tensor, "batch 68 64 64"],
) -> tuple[Float[Tensor, "batch 68 2"], Float[Tensor, "batch 68"]]:
    """Where each heat map is highest, and how high.

    A quarter of a cell is added towards the higher neighbour on either axis, as the network's authors do; cells at the
    border have no neighbours. All maps at once, no loop.

    Returns:
        x and y in cells from the map's edge (the first cell's centre is 0.5), and the heights.
    """
    batch, points, rows, columns = maps.shape
    heights, at = maps.reshape(batch, points, rows * columns).max(dim=2)
    x, y = at % columns, at // columns
    inside = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
    flat = maps.reshape(batch, points, rows * columns)

    def height(dx: int, dy: int) -> Tensor:
        near = (y + dy).clamp(0, rows - 1) * columns + (x + dx).clamp(0, columns - 1)
        return flat.gather(2, near[..., None])[..., 0]

    lean = torch.stack([height(1, 0) - height(-1, 0), height(0, 1) - height(0, -1)], dim=2).sign()
    cells = torch.stack([x, y], dim=2).to(maps.dtype) + 0.5
    return cells + 0.25 * lean * inside[..., None], heights


def with_mirror_image(
    network: nn.Module, pictures: Float[Tensor, "batch 3 256 256"], mirror: list[int]
) -> Float[Tensor, "batch 68 64 64"]:
    """The mean of the heat maps of pictures and of their mirror images, mirrored back.

    Args:
        network: Pictures to heat maps.
        pictures: See there.
        mirror: For each point the one that takes its place in the mirror.
    """
    both: Tensor = network(torch.cat([pictures, pictures.flip(3)]))
    straight, mirrored = both.chunk(2)
    return (straight + mirrored[:, mirror].flip(3)) / 2
