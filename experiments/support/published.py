"""Published numbers with their sources; `MEMORY` marks a number whose source could not be read.

Accuracies are in percent of ImageNet's 50,000 validation images. Those of torchvision belong to its weights
IMAGENET1K_V1 and are in its own table, which also has multiply-adds (and calls them GFLOPS).
"""

from __future__ import annotations

from typing import NamedTuple

MEMORY = "from memory"
TORCHVISION = "torchvision, IMAGENET1K_V1"
HE = "He et al. 2015"


class Accuracy(NamedTuple):
    """Accuracy of a net on ImageNet, in percent; None if it is not given."""

    top1: float | None
    top5: float | None
    multiply_adds: float | None
    """Billions of multiply-adds for an image of 224×224."""
    source: str
    crops: int = 1
    """Number of crops of an image whose outputs are averaged. Ten gain some 2 %, so compare only equal numbers."""


IMAGENET = {
    "alexnet": Accuracy(56.522, 79.066, 0.714, TORCHVISION),
    "vgg16": Accuracy(71.592, 90.382, 15.47, TORCHVISION),
    "vgg19": Accuracy(72.376, 90.876, 19.632, TORCHVISION),
    "googlenet": Accuracy(None, 89.93, None, "Szegedy et al. 2014, table 2"),
    "googlenet_bn": Accuracy(69.778, 89.53, 1.498, TORCHVISION),
    "plain18": Accuracy(72.06, None, None, f"{HE}, table 2", crops=10),
    "plain34": Accuracy(71.46, 89.98, None, f"{HE}, tables 2 and 3", crops=10),
    "resnet18": Accuracy(69.758, 89.078, 1.814, TORCHVISION),
    "resnet34": Accuracy(73.314, 91.42, 3.664, TORCHVISION),
    "resnet50": Accuracy(76.13, 92.862, 4.089, TORCHVISION),
    "resnet101": Accuracy(77.374, 93.546, 7.801, TORCHVISION),
    "resnet152": Accuracy(78.312, 94.046, 11.514, TORCHVISION),
}
"""Accuracies by the names of `odenet.models`."""

HE_MULTIPLY_ADDS = {"vgg16": 15.3, "vgg19": 19.6, "resnet50": 3.8, "resnet152": 11.3}
"""Billions of multiply-adds (He et al. 2015, who call them FLOPs). VGG-16 without its linear layers has 15.35. Their
bottlenecks have the stride in the 1×1 convolution; in the 3×3, as here and in torchvision, it takes 0.2 to 0.3 more."""

CIFAR10_ERROR = {
    "resnet20": 8.75,
    "resnet32": 7.51,
    "resnet44": 7.17,
    "resnet56": 6.97,
    "resnet110": 6.43,
    "resnet1202": 7.93,
}
"""Error in percent (He et al. 2015, table 6)."""


class InceptionRow(NamedTuple):
    """Row of table 1 of Szegedy et al. 2014, as printed."""

    thousands: int
    """Thousands of parameters (of 1024). Except in 4c and 5a, they follow from the filters to 2 %, without biases."""
    millions: int
    """Millions of multiply-adds ("ops"). They follow from the filters except in 5a, which would have 54 with 48 filters
    where 32 are printed."""


INCEPTION = {
    "3a": InceptionRow(159, 128),
    "3b": InceptionRow(380, 304),
    "4a": InceptionRow(364, 73),
    "4b": InceptionRow(437, 88),
    "4c": InceptionRow(463, 100),
    "4d": InceptionRow(580, 119),
    "4e": InceptionRow(840, 170),
    "5a": InceptionRow(1072, 54),
    "5b": InceptionRow(1388, 71),
}

FIRST_CONVOLUTION = (2.7, 34)
"""Thousands of parameters and millions of multiply-adds of the first convolution, 7×7, in that table. They belong to a
separable convolution of eight 7×7 filters per colour and 64 of 1×1; an ordinary one has 9.4 and 118."""

LECTURE_MILLIONS = (854, 358)
"""Millions of multiply-adds of the lecture's module, naive and with bottlenecks, which counts the 3×3 term twice."""

DENSITY = {
    "googlenet_bn": 9.8,
    "resnet18": 5.9,
    "resnet34": 3.3,
    "resnet50": 2.9,
    "resnet101": 1.7,
    "resnet152": 1.2,
    "alexnet": 0.8,
    "vgg16": 0.4,
    "vgg19": 0.4,
}
"""Top-1 accuracy in percent per million parameters (read off figure 10 of Canziani et al. 2016), best first."""

FEATURE_MEGABYTES = {"alexnet": 3, "vgg16": 58, "googlenet_bn": 26, "resnet18": 23, "resnet50": 103, "resnet152": 219}
"""Megabytes of all feature maps of one image of 224×224 in 32 bits (github.com/albanie/convnet-burden, where GoogLeNet
is that of the paper)."""


class Winner(NamedTuple):
    """Best classification entry of a year's ILSVRC."""

    year: int
    entry: str
    layers: int | None
    """Number of layers; None for features that were not learned by layers."""
    top5_error: float
    """Top-5 error in percent of the test images."""
    source: str


WINNERS = (
    Winner(2010, "NEC-UIUC", None, 28.2, MEMORY),
    Winner(2011, "XRCE", None, 25.8, MEMORY),
    Winner(2012, "AlexNet", 8, 16.4, "Szegedy et al. 2014, table 3"),
    Winner(2013, "Clarifai", 8, 11.7, "Szegedy et al. 2014, table 3"),
    Winner(2014, "VGG (second)", 19, 7.32, "He et al. 2015, table 5"),
    Winner(2014, "GoogLeNet", 22, 6.67, "Szegedy et al. 2014, table 2"),
    Winner(2015, "ResNet", 152, 3.57, "He et al. 2015, table 5"),
)
HUMAN_TOP5_ERROR = 5.1
"""Error of a human in percent, from memory."""

FASHION_MNIST = {
    "human": 83.5,
    "two convolutions": 91.6,
    "VGG-16": 93.5,
    "GoogLeNet": 93.7,
    "ResNet-18": 94.9,
    "WRN-28-10": 95.9,
    "WRN-40-4": 96.7,
}
"""Test accuracies in percent (github.com/zalandoresearch/fashion-mnist; submitted there, not verified)."""
