"""What experiments measure of a network: its size, its orders of convergence, its distance from the exact flow."""

from odenet.measure.boundary import boundary_f1
from odenet.measure.convergence import observed_order
from odenet.measure.distance import distance_to_flow
from odenet.measure.gradient_flow import LayerGradient, layer_gradients, weight_movement
from odenet.measure.size import count_evaluations, count_layers, count_parameters

__all__ = [
    "LayerGradient",
    "boundary_f1",
    "count_evaluations",
    "count_layers",
    "count_parameters",
    "distance_to_flow",
    "layer_gradients",
    "observed_order",
    "weight_movement",
]
