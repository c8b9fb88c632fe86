"""Measurements of networks: size, cost, memory, order of convergence, distance from the exact flow, and others."""

from odenet.measure.boundary import boundary_f1
from odenet.measure.checkerboard import checkerboard_energy
from odenet.measure.convergence import observed_order
from odenet.measure.distance import distance_to_flow, final_state, output_distance, relative_distance
from odenet.measure.energy import Energy, gpu_power, measure_energy
from odenet.measure.gradient_flow import LayerGradient, layer_gradients, weight_movement
from odenet.measure.latency import interleaved, latencies, ratio
from odenet.measure.lesions import dropped, swapped
from odenet.measure.memory import activation_bytes, peak_bytes, peak_cuda_bytes
from odenet.measure.operations import count_multiply_adds, count_operations
from odenet.measure.receptive_field import Reach, reach, receptive_field
from odenet.measure.size import count_evaluations, count_layers, count_parameters
from odenet.measure.smoothness import state_roughness, theta_roughness, visited_states
from odenet.measure.stability import largest_eigenvalues, stability_function

__all__ = [
    "Energy",
    "LayerGradient",
    "Reach",
    "activation_bytes",
    "boundary_f1",
    "checkerboard_energy",
    "count_evaluations",
    "count_layers",
    "count_multiply_adds",
    "count_operations",
    "count_parameters",
    "distance_to_flow",
    "dropped",
    "final_state",
    "gpu_power",
    "interleaved",
    "largest_eigenvalues",
    "latencies",
    "layer_gradients",
    "measure_energy",
    "observed_order",
    "output_distance",
    "peak_bytes",
    "peak_cuda_bytes",
    "ratio",
    "reach",
    "receptive_field",
    "relative_distance",
    "stability_function",
    "state_roughness",
    "swapped",
    "theta_roughness",
    "visited_states",
    "weight_movement",
]
