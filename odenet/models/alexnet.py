"""AlexNet (Krizhevsky et al. 2012), with five convolutions and three linear layers, in torchvision's one-tower form.

The tower is that of Krizhevsky 2014 (arXiv:1404.5997): 64-192-384-256-256 filters without groups and without response
normalization. 58.6 M of the 61.1 M parameters are in the three linear layers; GoogLeNet saves these by average pooling.
"""

from __future__ import annotations

from torch import Tensor, nn

from odenet.blocks.annotations import Share
from odenet.blocks.arguments import checked
from odenet.models.images import require_images


class AlexNet(nn.Module):
    """AlexNet: convolutions (stride 32) → 6×6 map → two hidden layers of 4096 → logits of shape (batch, num_classes).

    Parameters are named as in torchvision: `load_state_dict` takes the weights of `torchvision.models.alexnet`.

    Args:
        num_classes: number of logits.
        in_channels: number of channels of the images.
        dropout: probability of dropping a unit before each hidden layer.

    Raises:
        ValueError: if a count is not a positive integer, or if images have another number of channels or fewer than
            63×63 pixels.
    """

    smallest = 63
    """Side, in pixels, of the smallest image that the poolings do not reduce to nothing."""

    @checked
    def __init__(self, num_classes: int = 1000, in_channels: int = 3, *, dropout: Share = 0.5) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential(
            *(nn.Conv2d(in_channels, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU()),
            *(nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (batch, num_classes) for images of shape (batch, in_channels, height, width)."""
        require_images(x, self.in_channels, self.smallest, self)
        return self.classifier(self.pool(self.features(x)).flatten(1))


@checked
def alexnet(num_classes: int = 1000, in_channels: int = 3, *, dropout: Share = 0.5) -> AlexNet:
    """Build the AlexNet of Krizhevsky 2014: 61,100,840 parameters, 0.71 G multiply-adds at 224×224; 56.5 % top-1.

    The accuracy is torchvision's, on ImageNet.
    """
    return AlexNet(num_classes, in_channels, dropout=dropout)
