"""The networks: one registered face crop in, expression coefficients out.

`resnet50` is what we take DeepExp3D to be (the paper does not name its backbone's details): ResNet-50 (He et
al., "Deep residual learning for image recognition", CVPR 2016), with the stride in the 3x3 convolution and
the last normalisation of each block starting at zero (Goyal et al., "Accurate, large minibatch SGD", 2017).
`fast` is the same paper's ResNet-18 with half the channels, so that 50 faces a second are within reach of one
CPU core. MobileNetV2 has fewer operations (0.30 GMAC) and was tried: its depthwise convolutions wait for
memory, and it took three times as long on a core.
"""

import torch
from jaxtyping import Float32, UInt8
from torch import nn

from training.config import PRESETS, Preset
from training.model_config import CHANNEL_MEAN, CHANNEL_STD

CROP_SIDE_PX = 224

_RESNET50_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # bottleneck width, blocks
_FAST_STAGES = ((32, 2), (64, 2), (128, 2), (256, 2))  # channels, blocks


class ExpressionNetwork(nn.Module):
    """Backbone, average pooling, and one linear layer; the pixel normalisation is inside."""

    channel_mean: torch.Tensor
    channel_std: torch.Tensor

    def __init__(self, backbone: nn.Module, features: int, n_expression: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(features, n_expression)
        # Small weights: training starts near the bias, which is set to the mean expression, the baseline to beat.
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        for name, values in (("channel_mean", CHANNEL_MEAN), ("channel_std", CHANNEL_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, crops: UInt8[torch.Tensor, "batch 224 224 3"]) -> Float32[torch.Tensor, "batch n_expression"]:
        """Expression coefficients, standard deviations, of registered RGB crops."""
        pixels = crops.permute(0, 3, 1, 2).to(self.head.weight.dtype) / 255.0
        features = self.backbone((pixels - self.channel_mean) / self.channel_std)
        coefficients: torch.Tensor = self.head(features.mean(dim=(2, 3)))
        return coefficients


def build_network(preset: Preset, n_expression: int, *, seed: int = 0) -> ExpressionNetwork:
    """A network with random weights, the same for the same seed; the caller's random state is left alone.

    Args:
        preset: resnet50 or fast.
        n_expression: Number of coefficients.
        seed: Decides the weights.

    Raises:
        ValueError: Unknown preset.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match preset:
            case "resnet50":
                network = ExpressionNetwork(_residual_layers(_Bottleneck, _RESNET50_STAGES), 2048, n_expression)
            case "fast":
                network = ExpressionNetwork(_residual_layers(_Basic, _FAST_STAGES), 256, n_expression)
            case _:
                raise ValueError(f"preset={preset!r} is none of {', '.join(PRESETS)}")
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _convolution(channels_in: int, channels_out: int, side: int, *, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(channels_in, channels_out, side, stride, side // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _normalised(layer: nn.Conv2d) -> tuple[nn.Module, ...]:
    return layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU(inplace=True)


class _Block(nn.Module):
    """`relu(shortcut(x) + residual(x))`; what the residual consists of is the subclass's matter."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * self.expansion
        last = nn.BatchNorm2d(channels_out)
        nn.init.zeros_(last.weight)
        self.residual = nn.Sequential(*self._convolutions(channels_in, width, stride), last)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            projection = _convolution(channels_in, channels_out, 1, stride=stride)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.shortcut(x) + self.residual(x))

    def _convolutions(self, channels_in: int, width: int, stride: int) -> tuple[nn.Module, ...]:
        raise NotImplementedError


class _Basic(_Block):
    def _convolutions(self, channels_in: int, width: int, stride: int) -> tuple[nn.Module, ...]:
        return *_normalised(_convolution(channels_in, width, 3, stride=stride)), _convolution(width, width, 3)


class _Bottleneck(_Block):
    expansion = 4

    def _convolutions(self, channels_in: int, width: int, stride: int) -> tuple[nn.Module, ...]:
        return (
            *_normalised(_convolution(channels_in, width, 1)),
            *_normalised(_convolution(width, width, 3, stride=stride)),
            _convolution(width, width * self.expansion, 1),
        )


def _residual_layers(block: type[_Block], stages: tuple[tuple[int, int], ...]) -> nn.Sequential:
    channels = stages[0][0]
    layers: list[nn.Module] = [*_normalised(_convolution(3, channels, 7, stride=2)), nn.MaxPool2d(3, 2, 1)]
    for stage, (width, blocks) in enumerate(stages):
        for index in range(blocks):
            layers.append(block(channels, width, 2 if stage and not index else 1))
            channels = width * block.expansion
    return nn.Sequential(*layers)
