"""Numbers of others, as data: each with its source, and `MEMORY` where it was found in none that could be read.

Accuracies are percent of ImageNet's 50,000 validation images. torchvision's are those of its weights IMAGENET1K_V1: its
own table, which gives multiply-adds too (and calls them GFLOPS).
"""

from __future__ import annotations

from typing import NamedTuple

MEMORY = "from memory"
TORCHVISION = "torchvision, IMAGENET1K_V1"
HE = "He et al. 2015"


class Accuracy(NamedTuple):
    """Of a net on ImageNet, in percent; None where it is not given."""

    top1: float | None
    top5: float | None
    multiply_adds: float | None
    """Billions, for an image of 224×224."""
    source: str
    crops: int = 1
    """Of an image, whose answers are averaged: ten gain some 2 %, so that they compare with ten only."""


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
"""By the names of `odenet.models`."""

HE_MULTIPLY_ADDS = {"vgg16": 15.3, "vgg19": 19.6, "resnet50": 3.8, "resnet152": 11.3}
"""Billions (He et al. 2015, who call them FLOPs). VGG-16 without its linear layers is 15.35; the bottlenecks have their
stride in the 1×1 convolution there, in the 3×3 here and in torchvision, which is 0.2 to 0.3 billion more."""

CIFAR10_ERROR = {
    "resnet20": 8.75,
    "resnet32": 7.51,
    "resnet44": 7.17,
    "resnet56": 6.97,
    "resnet110": 6.43,
    "resnet1202": 7.93,
}
"""Percent (He et al. 2015, table 6)."""


class InceptionRow(NamedTuple):
    """A row of table 1 of Szegedy et al. 2014, as printed."""

    thousands: int
    """Parameters. With a thousand of 1024 and without biases they follow from the filters to 2 %, but in 4c and 5a."""
    millions: int
    """Multiply-adds ("ops"). All follow from their filters but 5a: it would have 54 with 48 filters where 32 stand."""


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
"""Thousands of parameters and millions of multiply-adds of the 7×7 convolution in that table: those of a separable one,
eight 7×7 filters for each colour and 64 of 1×1. The convolution of 3×7×7 has 9.4 thousand and 118 million."""

LECTURE_MILLIONS = (854, 358)
"""Multiply-adds of the lecture's module, naive and with bottlenecks; the second counts the 3×3 term twice."""

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
"""Top-1 accuracy in percent for a million parameters (Canziani et al. 2016, figure 10, read off), best first."""

FEATURE_MEGABYTES = {"alexnet": 3, "vgg16": 58, "googlenet_bn": 26, "resnet18": 23, "resnet50": 103, "resnet152": 219}
"""All maps of one image of 224×224 in 32 bits (github.com/albanie/convnet-burden; GoogLeNet is the paper's there)."""


class Winner(NamedTuple):
    """The best classification of a year's ILSVRC."""

    year: int
    entry: str
    layers: int | None
    """None for features that were not learned by layers."""
    top5_error: float
    """Percent of the test images."""
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
"""Percent, from memory."""

FASHION_MNIST = {
    "human": 83.5,
    "two convolutions": 91.6,
    "VGG-16": 93.5,
    "GoogLeNet": 93.7,
    "ResNet-18": 94.9,
    "WRN-28-10": 95.9,
    "WRN-40-4": 96.7,
}
"""Test accuracy in percent (github.com/zalandoresearch/fashion-mnist; submitted there, not verified)."""
