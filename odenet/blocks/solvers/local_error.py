"""Steps of an embedded pair that integrate the square of their own local error into a channel of the state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from odenet.blocks.solvers.runge_kutta import RungeKutta, VectorField, combination, evaluate_stages
from odenet.blocks.solvers.tableau import ButcherTableau


class WithLocalError(RungeKutta):
    """The step of an embedded pair for a state [x, r]: x as without r, and r ← r + h·‖Σ e_i·k_i‖² in one channel of r.

    The e_i are the error weights of the pair, so that h·Σ e_i·k_i is the estimate of the local error of x. The last
    stage of a "first same as last" pair is evaluated in every step.

    Args:
        solver: Runge-Kutta method whose tableau has error weights.
        channels: number of channels of x, the first ones of the state.
        index: index of the channel of r among those behind x.
    """

    tableau = ButcherTableau(order=1, a=[[]], b=[1])  # replaced by that of the solver

    def __init__(self, solver: RungeKutta, channels: int, index: int) -> None:
        self.solver, self.channels, self.index = solver, channels, index
        self.order = solver.order

    def increment(self, f: VectorField, t0: float, t1: float, x: Tensor) -> Tensor:
        """Return the increment that the step from t₀ to t₁ adds to [x, r]."""
        h, tableau = t1 - t0, self.solver.tableau

        def time(c: float) -> float:
            return t1 if c == 1 else t0 + c * h  # t₀ + h may round to beyond t₁, where θ differs

        def moved(weights: Sequence[float], slopes: list[Tensor]) -> Tensor:
            return x + combination(h, weights, slopes) if any(weights) else x

        slopes, _ = evaluate_stages(tableau.stages, f, time, moved, [])
        increment = combination(h, tableau.weights, slopes)
        error = combination(1.0, tableau.error_weights, slopes)[:, : self.channels]
        place = self.channels + self.index
        squared = h * error.square().sum(1, keepdim=True)
        return torch.cat(
            [increment[:, :place], increment[:, place : place + 1] + squared, increment[:, place + 1 :]], 1
        )
