"""AlexNet as published: two towers that meet in the third convolution (Krizhevsky et al. 2012, figure 2).

The convolutions have 96-256-384-384-256 filters; the second, fourth and fifth are split into two groups, and the first
two are followed by local response normalization. `odenet.models.alexnet` is the later net of one tower.
"""

from __future__ import annotations

from torch import Tensor, nn

from odenet.blocks.annotations import Share
from odenet.blocks.arguments import checked
from odenet.models.images import require_images


class TwoTowerAlexNet(nn.Module):
    """AlexNet with two towers: convolutions (stride 32) → 6×6 map → two hidden layers of 4096 → (batch, num_classes).

    Args:
        num_classes: number of logits.
        in_channels: number of channels of the images.
        dropout: probability of dropping a unit of a hidden layer.

    Raises:
        ValueError: if a count is not a positive integer, or if images have another number of channels or fewer than
            39×39 pixels.
    """

    smallest = 39
    """Side, in pixels, of the smallest image that the poolings do not reduce to nothing."""

    @checked
    def __init__(self, num_classes: int = 1000, in_channels: int = 3, *, dropout: Share = 0.5) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential(
            *(nn.Conv2d(in_channels, 96, 11, stride=4), nn.ReLU(), nn.LocalResponseNorm(5), _pool()),
            *(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), nn.LocalResponseNorm(5), _pool()),
            *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), _pool()),
        )
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (batch, num_classes) for images of shape (batch, in_channels, height, width)."""
        require_images(x, self.in_channels, self.smallest, self)
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


@checked
def alexnet_towers(num_classes: int = 1000, in_channels: int = 3, *, dropout: Share = 0.5) -> TwoTowerAlexNet:
    """Build the AlexNet of Krizhevsky et al. 2012: 60,965,224 parameters, 0.724 G multiply-adds at 227×227."""
    return TwoTowerAlexNet(num_classes, in_channels, dropout=dropout)
