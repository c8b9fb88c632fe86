"""The sliding window: a classifier of patches, asked once for every pixel (Farabet et al. 2013, Pinheiro & Collobert).

Three ways to the same logits, of one classifier and its weights:

- `SlidingWindow` asks it at every pixel; neighbouring patches share nearly all of their pixels, and each is computed
  anew;
- `shift_and_stitch` runs it as a convolution over s² shifted images, s its stride, and interleaves the coarse answers;
- `DenseClassifier` leaves the strides out and spreads the taps of what follows instead (à trous): everything is
  computed once.

An `FCN` of its trunk (`patch_trunk`) computes one answer in s² and interpolates between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.blocks.annotations import MayBeEmpty
from odenet.blocks.arguments import checked
from odenet.layers.grid import POINTWISE, Grid
from odenet.models.fcn_trunks import Trunk
from odenet.models.images import require_images


class PatchClassifier(nn.Module):
    """patch → stages of unpadded convolutions, each halved by pooling → hidden layer → logits of its middle pixel.

    The linear layers are written as convolutions, on a patch of which one pixel is left.

    Args:
        num_classes: number of logits.
        in_channels: of the images.
        stages: the number of filters of each convolution of each stage.
        side: of the filters.
        pool: side of the pooling windows, and their stride.
        hidden: units of the hidden layer.
        last: side of the map that the hidden layer sees.

    Attributes:
        patch: side of the patch, in pixels: 56 with the defaults.
        stride: pixels between patches whose poolings coincide: 8 with the defaults.

    Raises:
        ValueError: a count that is not a positive integer; patches of another size.

    >>> PatchClassifier(9, stages=[(16,), (64,)], side=7, hidden=256, last=7).patch  # Farabet et al. 2013: 46×46
    46
    """

    @checked
    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        *,
        stages: Annotated[Sequence[Sequence[int]], MayBeEmpty()] = ((16, 16), (32,), (32,)),
        side: int = 5,
        pool: int = 2,
        hidden: int = 64,
        last: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in stages:
            for width in stage:
                layers += [nn.Conv2d(channels, width, side), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(pool))
        layers += [nn.Conv2d(channels, hidden, last), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.score = nn.Conv2d(hidden, num_classes, 1)
        self.in_channels = in_channels
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        grid = Grid().through(self.features)
        self.patch, self.stride = int(2 * grid.centre) + 1, grid.stride

    def scores(self, x: Tensor) -> Tensor:
        """Logits of every `stride`-th patch of x: (batch, in_channels, H, W) → (batch, num_classes, ·, ·)."""
        return self.score(self.features(x))

    def forward(self, patches: Tensor) -> Tensor:
        """(n, in_channels, patch, patch) → logits (n, num_classes)."""
        if patches.dim() != 4 or patches.shape[1:] != (self.in_channels, self.patch, self.patch):
            raise ValueError(
                f"PatchClassifier was given patches of shape {tuple(patches.shape)}; its layers leave one pixel of "
                f"(n, {self.in_channels}, {self.patch}, {self.patch}): cut out patches of that size (SlidingWindow "
                "does so at every pixel of an image)."
            )
        return self.scores(patches).flatten(1)

    def surrounded(self, x: Tensor) -> Tensor:
        """The image with zeros around it, so that a patch lies around every pixel: its row and column patch // 2."""
        before = self.patch // 2
        after = self.patch - 1 - before
        return F.pad(x, (before, after, before, after))


class SlidingWindow(nn.Module):
    """logits[y, x] = classifier(the patch around pixel (y, x)), patch by patch; beyond the image there are zeros.

    Args:
        classifier: of patches.
        patches: how many are classified together: on a processor as many as fit its cache, on an accelerator thousands.

    Raises:
        ValueError: a count that is not a positive integer; images of another number of channels.
    """

    stride = 1

    @checked
    def __init__(self, classifier: PatchClassifier, patches: int = 64) -> None:
        super().__init__()
        self.classifier, self.patches = classifier, patches

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, height, width) → logits (batch, num_classes, height, width)."""
        require_images(x, self.classifier.in_channels, 1, self)
        side = self.classifier.patch
        windows = self.classifier.surrounded(x).unfold(2, side, 1).unfold(3, side, 1)  # views: no patch is copied yet
        batch, _, height, width = x.shape
        places = torch.arange(batch * height * width, device=x.device).split(self.patches)
        logits = [self.classifier(self._cut_out(windows, place)) for place in places]
        classes = self.classifier.score.out_channels
        return torch.cat(logits).view(batch, height, width, classes).movedim(-1, 1)

    @staticmethod
    def _cut_out(windows: Tensor, place: Tensor) -> Tensor:
        height, width = windows.shape[2:4]
        return windows[place // (height * width), :, place // width % height, place % width]


class DenseClassifier(nn.Module):
    """The same logits, each number computed once: no strides, and the taps of what follows spread by them (à trous).

    Args:
        classifier: of patches; the convolutions have its own weights, and are trained with it.

    Raises:
        ValueError: images of another number of channels.
    """

    stride = 1

    @checked
    def __init__(self, classifier: PatchClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.layers = a_trous([*classifier.features, classifier.score])

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, height, width) → logits (batch, num_classes, height, width)."""
        require_images(x, self.classifier.in_channels, 1, self)
        return self.layers(self.classifier.surrounded(x))


@checked
def a_trous(layers: Sequence[nn.Module]) -> nn.Sequential:
    """Layers without strides that agree with those given wherever these give an answer, on the same weights.

    Behind layers of stride s each pixel of a map has its neighbours s pixels away, so taps are s times as far apart.

    Raises:
        TypeError: a layer other than unpadded convolutions, max pooling and what works pixel by pixel.
    """
    spread, made = 1, []
    for layer in layers:
        made.append(_spread(layer, spread))
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            spread = Grid(spread).through(layer).stride
    return nn.Sequential(*made)


def _spread(layer: nn.Module, spread: int) -> nn.Module:
    if isinstance(layer, POINTWISE):
        return layer
    if isinstance(layer, nn.MaxPool2d) and layer.padding == 0:
        return nn.MaxPool2d(layer.kernel_size, stride=1, dilation=spread)
    if isinstance(layer, nn.Conv2d) and layer.padding == (0, 0) and layer.groups == 1:
        channels, filters, side = layer.in_channels, layer.out_channels, layer.kernel_size
        bias = layer.bias is not None
        dense = nn.Conv2d(channels, filters, (side[0], side[1]), dilation=spread, bias=bias, device="meta")
        dense.weight, dense.bias = layer.weight, layer.bias
        return dense
    raise TypeError(
        f"{layer} was to lose its stride; only unpadded convolutions, max pooling and pixel-wise layers can: a border "
        "of zeros would lie elsewhere. Build the classifier of these."
    )


@checked
def shift_and_stitch(classifier: PatchClassifier, x: Tensor) -> Tensor:
    """The same logits from s² passes over shifted images, each of which has every s-th (Long et al. 2015, section 3.2).

    Args:
        classifier: of patches.
        x: (batch, in_channels, height, width).

    Returns:
        (batch, num_classes, height, width).

    Raises:
        ValueError: images of another number of channels.
    """
    require_images(x, classifier.in_channels, 1, classifier)
    height, width = x.shape[2:]
    stride = classifier.stride
    # Zeros below and on the right, so that every shift has an answer, and all have as many.
    framed = F.pad(classifier.surrounded(x), (0, stride + -width % stride, 0, stride + -height % stride))
    rows, columns = -(-height // stride), -(-width // stride)
    logits = x.new_empty(len(x), classifier.score.out_channels, rows * stride, columns * stride)
    for top in range(stride):
        for left in range(stride):
            coarse = classifier.scores(framed[:, :, top:, left:])
            logits[:, :, top::stride, left::stride] = coarse[:, :, :rows, :columns]
    return logits[:, :, :height, :width]


@checked
def patch_trunk(classifier: PatchClassifier) -> Trunk:
    """The classifier's features as a trunk of one map: `FCN(patch_trunk(classifier), …)` interpolates its answers."""
    channels, grid = classifier.score.in_channels, Grid().through(classifier.features)
    return Trunk([classifier.features], [channels], [grid], classifier.in_channels)
