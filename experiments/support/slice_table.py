"""Ranks of slices, which order them by value, and estimated seconds of tests and benchmarks: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Ranks(NamedTuple):
    """Ranks of the first seed and of the other seeds of an experiment: smaller ranks run earlier."""

    first_seed: int
    other_seeds: int


EXPERIMENTS: Mapping[str, Ranks] = {
    "depth_refinement": Ranks(2, 4),
    "degradation": Ranks(2, 4),
    "complexity": Ranks(2, 4),
    "to_continuous": Ranks(3, 6),
    "segmentation": Ranks(3, 6),
    "detection": Ranks(5, 7),
    "multilevel_training": Ranks(3, 6),
    "stochastic_depth": Ranks(5, 7),
    "solver_swap": Ranks(5, 7),
    "categorization": Ranks(5, 7),
    "is_it_an_ode": Ranks(5, 7),
    "learning_rates": Ranks(5, 7),
    "gradient_methods": Ranks(5, 7),
    "gradient_flow": Ranks(5, 7),
    "upsampling": Ranks(5, 7),
    "inception": Ranks(5, 7),
    "sliding_window": Ranks(5, 7),
    "plane": Ranks(5, 7),
}
"""Ranks of each experiment with a preset `gpu`."""

BENCHMARKS: Mapping[str, tuple[int, float]] = {
    "networks": (1, 110),
    "scenes": (8, 30),
    "stochastic_depth": (8, 60),
    "unet_memory": (8, 30),
    "roofline": (8, 60),
    "gradients": (8, 60),
    "gradient_peers": (8, 90),
    "deep_net": (8, 90),
    "core": (9, 100),
    "fixed_steps": (9, 110),
    "adaptive": (9, 110),
    "scaling": (9, 110),
}
"""Rank and estimated seconds on an H100 of each benchmark; those that compile most come last."""

TESTS: Mapping[str, tuple[int, float]] = {"gpu and not compiles": (0, 40), "gpu and compiles": (9, 110)}
"""Rank and estimated seconds on an H100 of the tests of each mark."""

LONGER, IN_MINIATURE = 3.0, 20.0
"""Rough ratio of the seconds of the presets full and gpu, and expected seconds of a slice of any other preset."""
