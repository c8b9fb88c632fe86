"""Layers that are no flows: what the baselines and the segmentation networks need beside ODE blocks."""

from odenet.layers.inception import Inception, InceptionWidths, NaiveInception, Parallel, convolution

__all__ = ["Inception", "InceptionWidths", "NaiveInception", "Parallel", "convolution"]
