"""VGG: 3×3 convolutions only, with twice the filters where the map is halved (Simonyan & Zisserman 2014, table 1).

VGG-16 and VGG-19 have 15.5 and 19.6 G multiply-adds and 138 and 144 M parameters, most of these in the linear layers;
they are the most expensive networks of every comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from odenet.blocks.annotations import Share
from odenet.blocks.arguments import checked
from odenet.blocks.branches import Norm
from odenet.models.images import require_images


class VGG(nn.Module):
    """VGG: stages of 3×3 convolutions, each followed by 2×2 pooling → 7×7 map → two hidden layers → logits.

    Parameters are named as in torchvision: `load_state_dict` takes the weights of `torchvision.models.vgg16` and, with
    `norm=nn.BatchNorm2d`, of `vgg16_bn`.

    Args:
        stages: numbers of filters, one sequence for each stage with one number for each convolution.
        num_classes: number of logits.
        in_channels: number of channels of the images.
        norm: constructor of the normalization after each convolution, called with the number of channels; None, as in
            the paper, for no normalization.
        hidden: units of each hidden layer; 4096 in the paper.
        dropout: probability of dropping a unit of a hidden layer.

    Raises:
        ValueError: if a count is not a positive integer, if there is no stage or one without convolutions, or if images
            have another number of channels or are so small that pooling leaves nothing (below 32×32 with five stages).
    """

    @checked
    def __init__(
        self,
        stages: Sequence[Sequence[int]],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        norm: Norm | None = None,
        hidden: int = 4096,
        dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        self.in_channels, self.smallest = in_channels, 2 ** len(stages)
        self.features = nn.Sequential(*_features(stages, in_channels, norm))
        self.pool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(stages[-1][-1] * 7 * 7, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, num_classes),
        )
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (batch, num_classes) for images of shape (batch, in_channels, height, width)."""
        require_images(x, self.in_channels, self.smallest, self)
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _features(stages: Sequence[Sequence[int]], in_channels: int, norm: Norm | None) -> Iterator[nn.Module]:
    for stage in stages:
        for channels in stage:
            yield nn.Conv2d(in_channels, channels, 3, padding=1)
            if norm is not None:
                yield norm(channels)
            yield nn.ReLU()
            in_channels = channels
        yield nn.MaxPool2d(2)


def _initialize(model: nn.Module) -> None:
    """Draw weights of variance 2/fan-out for convolutions (He et al. 2015b), 10⁻⁴ for linear layers, as torchvision."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


@checked
def vgg16(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """Build VGG-16 (configuration D): 138,357,544 parameters, 15.5 G multiply-adds at 224×224.

    It has 28.07 % top-1 error on ImageNet, averaged over 10 crops.
    """
    stages = [(64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3]
    return VGG(stages, num_classes, in_channels, **options)


@checked
def vgg19(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> VGG:
    """Build VGG-19 (configuration E): 143,667,240 parameters, 19.6 G multiply-adds at 224×224."""
    stages = [(64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4]
    return VGG(stages, num_classes, in_channels, **options)
