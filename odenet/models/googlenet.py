"""GoogLeNet, 22 layers deep: Inception modules and one linear layer (Szegedy et al. 2014, table 1 and figure 3).

Two auxiliary classifiers, on the maps after modules 4a and 4d, bring gradient to the early layers in training. There
are two forms of the net:

- `googlenet` is the paper's, with 5×5 filters, biases and local response normalization. It has 6,998,552 parameters,
  computed from the filters in table 1 (the table's column of parameters sums to 6.80 M and is inconsistent with its
  filters), and 3,188,840 and 3,190,888 in the auxiliary classifiers.
- `googlenet_bn` is torchvision's, with BatchNorm instead of biases, and 3×3 where the paper has 5×5. It has 6,624,904
  parameters, 13,004,888 with the auxiliary classifiers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.annotations import Share
from odenet.blocks.arguments import checked
from odenet.blocks.branches import Norm
from odenet.layers.inception import Inception, InceptionWidths, Parallel, convolution
from odenet.models.images import require_images

InceptionModule: TypeAlias = Callable[..., Parallel]
"""Constructor of an Inception module, called as `module(in_channels, widths, norm=…)`."""

Auxiliary: TypeAlias = Callable[..., nn.Module]
"""Constructor of an auxiliary classifier, called as `auxiliary(in_channels, num_classes, norm=…)`."""

WIDTHS = {
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}
"""Numbers of channels in each module, from table 1 of the paper."""

_AFTER = ("4a", "4d")
"""Names of the modules whose outputs the auxiliary classifiers take."""


class GoogLeNetOutput(NamedTuple):
    """Logits of the three classifiers of a GoogLeNet in training mode, each of shape (batch, num_classes)."""

    logits: Tensor
    auxiliary_4a: Tensor
    auxiliary_4d: Tensor

    def combine(self, loss: Callable[[Tensor], Tensor], weight: float = 0.3) -> Tensor:
        """Return ℓ(logits) + weight · (ℓ(auxiliary_4a) + ℓ(auxiliary_4d)), the training loss of section 5 of the paper.

        Args:
            loss: function ℓ of logits, with the targets bound: `lambda logits: F.cross_entropy(logits, targets)`.
            weight: factor of each auxiliary loss.
        """
        return loss(self.logits) + weight * (loss(self.auxiliary_4a) + loss(self.auxiliary_4d))


class WindowMeans(nn.Module):
    """Average pooling to n×n pixels by equal windows: stride s = ⌊h/n⌋, size h - (n - 1)·s.

    From 14×14 to 4×4 pixels the windows are 5×5 with stride 3, as in the paper; torch's adaptive pooling would take
    windows of 4×4. The pixels of a map smaller than n×n are repeated.

    Args:
        side: side n of the output, in pixels.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Average over the windows: (batch, channels, h, w) → (batch, channels, side, side)."""
        if min(x.shape[2:]) < self.side:
            return F.adaptive_avg_pool2d(x, self.side)
        strides = [pixels // self.side for pixels in x.shape[2:]]
        sizes = [pixels - (self.side - 1) * stride for pixels, stride in zip(x.shape[2:], strides, strict=True)]
        return F.avg_pool2d(x, sizes, strides)


class AuxiliaryClassifier(nn.Module):
    """Auxiliary classifier: pooling to 4×4 → 1×1 convolution to 128 → hidden layer of 1024 → dropout → logits.

    See section 5 of the paper.

    Args:
        in_channels: number of channels of the input map.
        num_classes: number of logits.
        norm: constructor of a normalization layer, called with the number of channels; None for biases instead.
        pool: module that maps (batch, in_channels, h, w) to (batch, in_channels, 4, 4); by default `WindowMeans`, which
            has 5×5 windows with stride 3 on the paper's 14×14 pixels.
        dropout: probability of dropping a hidden unit.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        norm: Norm | None = None,
        pool: nn.Module | None = None,
        dropout: float = 0.7,
    ) -> None:
        super().__init__()
        self.pool = WindowMeans(4) if pool is None else pool
        self.conv = convolution(in_channels, 128, 1, norm=norm)
        self.hidden = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (batch, in_channels, h, w) → (batch, num_classes)."""
        x = self.conv(self.pool(x)).flatten(1)
        return self.head(self.dropout(torch.relu(self.hidden(x))))


class GoogLeNet(nn.Module):
    """GoogLeNet: stem (stride 8) → modules 3a, 3b, pooling, 4a to 4e, pooling, 5a, 5b → means → linear → logits.

    In training mode, a net with auxiliary classifiers returns a `GoogLeNetOutput`. In evaluation mode, or without
    auxiliary classifiers, it returns the logits only, and does not compute the auxiliary classifiers.

    Args:
        num_classes: number of logits.
        in_channels: number of channels of the images.
        module: constructor of the Inception modules; `NaiveInception.of_widths` makes the net without bottlenecks.
        norm: constructor of a normalization layer, called with the number of channels; None for biases, and the paper's
            local response normalization in the stem.
        last_pool: size of the pooling before 5a: 3 in the paper, 2 in torchvision.
        auxiliary: constructor of the auxiliary classifiers; None for a net without them.
        dropout: probability of dropping a feature after 5b.
        transform: module applied to the images first; None for none.

    Raises:
        ValueError: if a count is not a positive integer, if `last_pool` is not 2 or 3, or if images have another number
            of channels or fewer than 31×31 pixels (15×15 with `last_pool=2`), of which pooling leaves nothing.
    """

    @checked
    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        module: InceptionModule = Inception,
        norm: Norm | None = None,
        last_pool: int = 3,
        auxiliary: Auxiliary | None = AuxiliaryClassifier,
        dropout: Share = 0.4,
        transform: nn.Module | None = None,
    ) -> None:
        super().__init__()
        _require_last_pool(last_pool)
        # The last pooling by 3 needs two pixels, which, at stride 16 and with padding, are made from 31 of the image.
        self.in_channels, self.smallest = in_channels, 16 * (last_pool - 1) - 1
        self.transform = nn.Identity() if transform is None else transform
        self.stem = _stem(in_channels, norm)
        self.body = nn.ModuleDict(_body(192, partial(module, norm=norm), last_pool))
        channels = {name: part.channels for name, part in self.body.items() if isinstance(part, Parallel)}
        self.auxiliaries = nn.ModuleDict()
        if auxiliary is not None:
            self.auxiliaries.update({name: auxiliary(channels[name], num_classes, norm=norm) for name in _AFTER})
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels["5b"], num_classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutput:
        """Return logits (batch, num_classes) of images (batch, in_channels, height, width), or a `GoogLeNetOutput`."""
        require_images(x, self.in_channels, self.smallest, self)
        x = self.stem(self.transform(x))
        auxiliary: dict[str, Tensor] = {}
        for name, part in self.body.items():
            x = part(x)
            if self.training and name in self.auxiliaries:
                auxiliary[name] = self.auxiliaries[name](x)
        logits = self.head(self.dropout(x.mean(dim=(2, 3))))
        return GoogLeNetOutput(logits, auxiliary["4a"], auxiliary["4d"]) if auxiliary else logits


def _require_last_pool(size: int) -> None:
    if size not in (2, 3):
        raise ValueError(
            f"last_pool = {size!r}; the windows of a pooling of stride 2 must cover every pixel with little overlap: "
            "pass 3 for the paper's net, 2 for torchvision's."
        )


def _stem(in_channels: int, norm: Norm | None) -> nn.Sequential:
    """Build the stem (batch, in_channels, h, w) → (batch, 192, h/8, w/8): 7×7 and pooling, 1×1, 3×3 and pooling."""
    parts = OrderedDict[str, nn.Module]()
    parts["conv1"] = convolution(in_channels, 64, 7, stride=2, norm=norm)
    parts["pool1"] = _halving(3)
    if norm is None:
        parts["response1"] = nn.LocalResponseNorm(5)
    parts["conv2"] = convolution(64, 64, 1, norm=norm)
    parts["conv3"] = convolution(64, 192, 3, norm=norm)
    if norm is None:
        parts["response2"] = nn.LocalResponseNorm(5)
    parts["pool2"] = _halving(3)
    return nn.Sequential(parts)


def _body(in_channels: int, module: InceptionModule, last_pool: int) -> dict[str, nn.Module]:
    """Build the modules of table 1, with the poolings between them, by name."""
    pools = {"4a": ("pool3", 3), "5a": ("pool4", last_pool)}
    body: dict[str, nn.Module] = {}
    for name, widths in WIDTHS.items():
        if name in pools:
            pool, size = pools[name]
            body[pool] = _halving(size)
        body[name] = made = module(in_channels, widths)
        in_channels = made.channels
    return body


def _halving(size: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(size, 2, ceil_mode=True)


def _initialize(model: nn.Module) -> None:
    """Draw normal weights of variance 2/fan-in and zero the biases (He et al. 2015b).

    This keeps the variance of the maps in a net without norms.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@checked
def googlenet(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> GoogLeNet:
    """Build the paper's net: 6,998,552 parameters, 13,378,280 with auxiliaries; 1.58 G multiply-adds at 224×224.

    `auxiliary=None` leaves out the auxiliary classifiers, and `norm=nn.BatchNorm2d` replaces biases and response
    normalization by BatchNorm. The net has 10.07 % top-5 error on ImageNet with one model and one crop.
    """
    return GoogLeNet(num_classes, in_channels, **options)


@checked
def googlenet_bn(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> GoogLeNet:
    """Build torchvision's net: 6,624,904 parameters, 13,004,888 with auxiliaries; 1.5 G multiply-adds at 224×224.

    It has BatchNorm, and 3×3 filters in the branch that has 5×5 in the paper; 69.8 % top-1 accuracy on ImageNet.
    """
    defaults: dict[str, Any] = {
        "module": partial(Inception, largest=3),
        "norm": partial(nn.BatchNorm2d, eps=1e-3),
        "last_pool": 2,
        "auxiliary": partial(AuxiliaryClassifier, pool=nn.AdaptiveAvgPool2d(4)),
        "dropout": 0.2,
    }
    return GoogLeNet(num_classes, in_channels, **defaults | options)
