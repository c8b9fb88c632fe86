"""Sliding window: a classifier of patches, applied at every pixel (Farabet et al. 2013, Pinheiro & Collobert).

There are three ways to compute the same logits with one classifier and its weights:

- `SlidingWindow` applies it to the patch around every pixel. Neighbouring patches share nearly all of their pixels, and
  each patch is computed anew.
- `shift_and_stitch` applies it as a convolution to s² shifted images, where s is its stride, and interleaves the coarse
  outputs.
- `DenseClassifier` removes the strides and dilates the later filters instead (à trous), so everything is computed once.

An `FCN` on the classifier's backbone (`patch_backbone`) computes the logits of one pixel in s² and interpolates the
rest.
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
from odenet.models.fcn_trunks import Backbone
from odenet.models.images import require_images


class PatchClassifier(nn.Module):
    """Patch classifier: patch → unpadded convolutions and poolings → hidden layer → logits of its middle pixel.

    The linear layers are written as convolutions; they act on a map of one pixel, to which a patch is reduced.

    Args:
        num_classes: number of logits.
        in_channels: number of channels of the images.
        stages: numbers of filters, one sequence for each stage with one number for each convolution.
        side: side of the filters, in pixels.
        pool: side of the pooling windows, and their stride.
        hidden: number of units of the hidden layer.
        last: side of the map on which the hidden layer acts.

    Attributes:
        patch: side of the patch, in pixels: 56 with the defaults.
        stride: product of all pooling strides: 8 with the defaults.

    Raises:
        ValueError: if a count is not a positive integer, or if patches have another size.

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
        """Return logits of every `stride`-th patch of x: (batch, in_channels, H, W) → (batch, num_classes, ·, ·)."""
        return self.score(self.features(x))

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits: (n, in_channels, patch, patch) → (n, num_classes)."""
        if patches.dim() != 4 or patches.shape[1:] != (self.in_channels, self.patch, self.patch):
            raise ValueError(
                f"PatchClassifier was given patches of shape {tuple(patches.shape)}; its layers leave one pixel of "
                f"(n, {self.in_channels}, {self.patch}, {self.patch}): cut out patches of that size (SlidingWindow "
                "does so at every pixel of an image)."
            )
        return self.scores(patches).flatten(1)

    def zero_padded(self, x: Tensor) -> Tensor:
        """Pad the image with zeros so that every pixel is the one at row and column patch // 2 of some patch."""
        before = self.patch // 2
        after = self.patch - 1 - before
        return F.pad(x, (before, after, before, after))


class SlidingWindow(nn.Module):
    """logits[y, x] = classifier(patch around pixel (y, x)), computed patch by patch; the image is padded with zeros.

    Args:
        classifier: classifier of patches.
        patches: number of patches classified together; on a CPU as many as fit its cache, on an accelerator thousands.

    Raises:
        ValueError: if a count is not a positive integer, or if images have another number of channels.
    """

    stride = 1

    @checked
    def __init__(self, classifier: PatchClassifier, patches: int = 64) -> None:
        super().__init__()
        self.classifier, self.patches = classifier, patches

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (batch, in_channels, height, width) → (batch, num_classes, height, width)."""
        require_images(x, self.classifier.in_channels, 1, self)
        side = self.classifier.patch
        windows = self.classifier.zero_padded(x).unfold(2, side, 1).unfold(3, side, 1)  # a view, which copies no patch
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
    """Dense form of a patch classifier: the logits of `SlidingWindow`, computed once by dilated convolutions (à trous).

    Args:
        classifier: classifier of patches; its weights are shared, so that training one trains the other.

    Raises:
        ValueError: if images have another number of channels.
    """

    stride = 1

    @checked
    def __init__(self, classifier: PatchClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.layers = a_trous([*classifier.features, classifier.score])

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (batch, in_channels, height, width) → (batch, num_classes, height, width)."""
        require_images(x, self.classifier.in_channels, 1, self)
        return self.layers(self.classifier.zero_padded(x))


@checked
def a_trous(layers: Sequence[nn.Module]) -> nn.Sequential:
    """Convert layers to layers without strides and with the same weights, which compute an output at every pixel.

    After layers of total stride s, the taps of a filter are dilated by s. The outputs agree with those of the given
    layers wherever these compute one.

    Raises:
        TypeError: if a layer is not an unpadded convolution, a max pooling or a layer that acts pixel by pixel.
    """
    dilation, converted = 1, []
    for layer in layers:
        converted.append(_dilated(layer, dilation))
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            dilation = Grid(dilation).through(layer).stride
    return nn.Sequential(*converted)


def _dilated(layer: nn.Module, dilation: int) -> nn.Module:
    if isinstance(layer, POINTWISE):
        return layer
    if isinstance(layer, nn.MaxPool2d) and layer.padding == 0:
        return nn.MaxPool2d(layer.kernel_size, stride=1, dilation=dilation)
    if isinstance(layer, nn.Conv2d) and layer.padding == (0, 0) and layer.groups == 1:
        channels, filters, side = layer.in_channels, layer.out_channels, layer.kernel_size
        bias = layer.bias is not None
        dense = nn.Conv2d(channels, filters, (side[0], side[1]), dilation=dilation, bias=bias, device="meta")
        dense.weight, dense.bias = layer.weight, layer.bias
        return dense
    raise TypeError(
        f"{layer} was to lose its stride; only unpadded convolutions, max pooling and pixel-wise layers can, because "
        "padding would lie elsewhere without strides: build the classifier from these layers."
    )


@checked
def shift_and_stitch(classifier: PatchClassifier, x: Tensor) -> Tensor:
    """Compute the logits of `SlidingWindow` by s² passes over shifted images (Long et al. 2015, section 3.2).

    Each pass gives the logits of every s-th row and column, where s is the stride of the classifier.

    Args:
        classifier: classifier of patches.
        x: images of shape (batch, in_channels, height, width).

    Returns:
        Logits of shape (batch, num_classes, height, width).

    Raises:
        ValueError: if images have another number of channels.
    """
    require_images(x, classifier.in_channels, 1, classifier)
    height, width = x.shape[2:]
    stride = classifier.stride
    # More zeros below and on the right give every shifted image equally many outputs.
    padded = F.pad(classifier.zero_padded(x), (0, stride + -width % stride, 0, stride + -height % stride))
    rows, columns = -(-height // stride), -(-width // stride)
    logits = x.new_empty(len(x), classifier.score.out_channels, rows * stride, columns * stride)
    for top in range(stride):
        for left in range(stride):
            coarse = classifier.scores(padded[:, :, top:, left:])
            logits[:, :, top::stride, left::stride] = coarse[:, :, :rows, :columns]
    return logits[:, :, :height, :width]


@checked
def patch_backbone(classifier: PatchClassifier) -> Backbone:
    """Build a backbone of one map from the classifier's features, so that an `FCN` can interpolate its logits."""
    channels, grid = classifier.score.in_channels, Grid().through(classifier.features)
    return Backbone([classifier.features], [channels], [grid], classifier.in_channels)
