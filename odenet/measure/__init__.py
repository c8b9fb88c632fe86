"""Measurements of networks: size, cost, memory, order of convergence, distance from the exact flow, and others."""

from odenet.measure.boundary import boundary_f1
from odenet.measure.checkerboard import checkerboard_energy
from odenet.measure.convergence import observed_order
from odenet.measure.distance import distance_to_flow, final_state, output_distance, relative_distance
from odenet.measure.energy import Energy, gpu_power, measure_energy
from odenet.measure.gradient_flow import LayerGradient, layer_gradients, weight_movement
from odenet.measure.latency import interleaved, latencies, ratio
from odenet.measure.lesions import dropped, swapped
from odenet.measure.lyapunov import finite_time_exponents, lyapunov_exponents
from odenet.measure.memory import activation_bytes, peak_bytes, peak_cuda_bytes
from odenet.measure.operations import count_multiply_adds, count_operations
from odenet.measure.paths import (
    Evaluation,
    Path,
    PrincipalPath,
    evaluation_points,
    plane_grid,
    principal_path,
    require_plane,
    solve_path,
    vector_field,
)
from odenet.measure.receptive_field import Reach, reach, receptive_field
from odenet.measure.residual_alignment import ResidualAlignment, residual_alignment
from odenet.measure.size import count_evaluations, count_layers, count_parameters
from odenet.measure.smoothness import state_roughness, theta_roughness, visited_states
from odenet.measure.stability import largest_eigenvalues, stability_function

__all__ = [
    "Energy",
    "Evaluation",
    "LayerGradient",
    "Path",
    "PrincipalPath",
    "Reach",
    "ResidualAlignment",
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
    "evaluation_points",
    "final_state",
    "finite_time_exponents",
    "gpu_power",
    "interleaved",
    "largest_eigenvalues",
    "latencies",
    "layer_gradients",
    "lyapunov_exponents",
    "measure_energy",
    "observed_order",
    "output_distance",
    "peak_bytes",
    "peak_cuda_bytes",
    "plane_grid",
    "principal_path",
    "ratio",
    "reach",
    "receptive_field",
    "relative_distance",
    "require_plane",
    "residual_alignment",
    "solve_path",
    "stability_function",
    "state_roughness",
    "swapped",
    "theta_roughness",
    "vector_field",
    "visited_states",
    "weight_movement",
]
