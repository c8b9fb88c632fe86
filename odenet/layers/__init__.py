"""Layers other than ODE blocks, used by the baselines and the segmentation networks."""

from odenet.layers.augment import Augment, DropChannels
from odenet.layers.inception import Inception, InceptionWidths, NaiveInception, Parallel, convolution
from odenet.layers.transpose_convolution import Bilinear, TransposeConvolution, bilinear_kernel, initialize_bilinear
from odenet.layers.upsampling import BedOfNails, MakeUpsampling, MaxUnpooling, Nearest, Upsampling

__all__ = [
    "Augment",
    "BedOfNails",
    "Bilinear",
    "DropChannels",
    "Inception",
    "InceptionWidths",
    "MakeUpsampling",
    "MaxUnpooling",
    "NaiveInception",
    "Nearest",
    "Parallel",
    "TransposeConvolution",
    "Upsampling",
    "bilinear_kernel",
    "convolution",
    "initialize_bilinear",
]
