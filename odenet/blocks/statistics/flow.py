"""The statistics of a block: where they are kept, and how they come into a solve."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from odenet.blocks.errors import StatisticsWarning
from odenet.blocks.properties import ModuleWithProperties
from odenet.blocks.replay.positions import Positions
from odenet.blocks.solvers.runge_kutta import RK4
from odenet.blocks.statistics.evaluations import Collector, with_statistics
from odenet.blocks.statistics.tables import Moments, Statistics, norms_of, statistics_in
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import Piece, Theta


def fine_steps(pieces: int) -> FixedSteps:
    """Return the steps along which statistics are collected as functions of t: at least 8 on a piece, and 32 in all."""
    return FixedSteps(RK4(), per_piece=max(8, 32 // pieces))


class FlowWithStatistics(ModuleWithProperties):
    """Base class of a flow whose normalizations can have statistics along the solve."""

    solves_a_flow = True
    """Mark by which normalizations within this flow are told from those of an enclosing one."""

    label: str
    theta: Theta

    def __init__(self) -> None:
        super().__init__()
        self._collector: Collector | None = None
        self._collected_for: str | None = None
        self._warned_of: str | None = None

    @property
    def statistics(self) -> Statistics | None:
        """Statistics of the normalizations along the solve; None if they have only their own running statistics."""
        found: Any = self._modules.get("statistics")
        return found

    @statistics.setter
    def statistics(self, value: Statistics | None) -> None:
        if value is not None and not isinstance(value, Statistics):
            raise TypeError(
                f"statistics of {self.label} were set to a {type(value).__name__}; recalibrate(net, batches) collects "
                "them: pass the statistics of such a block, or None."
            )
        self._modules.pop("statistics", None)
        if value is not None:
            self._modules["statistics"] = value
        self._collected_for, self._warned_of = None if value is None else value.solve, None

    @abstractmethod
    def present_stepping(self) -> Stepping:
        """Return the stepping of evaluation mode, as the gradient method takes it."""

    @abstractmethod
    def solve_name(self, stepping: Stepping) -> str:
        """Return the name of a solve by this stepping, which differs for solves with different evaluations of F."""

    @contextmanager
    def collecting(self) -> Iterator[Collector]:
        """Let forward passes within this context collect statistics."""
        self._collector = Collector(self.label)
        try:
            yield self._collector
        finally:
            self._collector = None

    def _pieces(self) -> tuple[Iterable[Piece], Positions | None]:
        """Return the pieces of θ, with statistics if there are any, and the positions of a solve along them."""
        pieces = self.theta.pieces()
        if self._collector is not None:
            return self._collector.on(list(pieces)), None
        if self._collected_for is None or self.statistics is None:
            return pieces, None
        pieces = list(pieces)
        positions = Positions(len(pieces))
        return with_statistics(pieces, self.statistics, self.theta.horizon, positions), positions

    def _compare_statistics_with(self, stepping: Stepping, positions: Positions | None) -> None:
        """Use statistics as functions of t, unless they belong to the evaluations of a solve by this stepping."""
        name = self.solve_name(stepping)
        known = self._collected_for == name
        if not known and not self.training and self._collector is None:
            self._warn(name)
        if positions is None or (known and not stepping.controls_error):
            return
        positions.forget()
        if self.training and self._collected_for:
            self._set_outdated()

    def _warn(self, name: str) -> None:
        if self._warned_of == name or torch.compiler.is_compiling():
            return
        self._warned_of = name
        before = self._collected_for or "θ as it was before it was trained further or replaced"
        used = "one set is used at all t" if self.statistics is None else "they are interpolated in t"
        warnings.warn(
            f"{self.label} is solved by {name}, but the statistics of its normalizations were collected for {before}, "
            f"and {used}: call recalibrate(net, batches), or configure(net, stepping=…, recalibrate=batches).",
            StatisticsWarning,
            stacklevel=2,
        )

    def _set_outdated(self) -> None:
        """Mark the statistics as those of no present solve, because training goes on without them."""
        if self.statistics is not None and any(norm.training for _, norm in norms_of(self.theta)):
            self.statistics = self.statistics.belongs_to("")

    def _keep_statistics_for(self, theta: Theta) -> None:
        """Keep the statistics as functions of t for another θ if it has the same normalizations, or else drop them."""
        statistics = self.statistics
        layouts = {str(_layout(node)) for node in (*theta.nodes, *self.theta.nodes)}
        self.statistics = statistics.belongs_to("") if statistics is not None and len(layouts) == 1 else None

    def statistics_of_present_solve(self) -> Statistics | None:
        """Return the statistics if they belong to the evaluations of the present solve, else None."""
        stepping = self.present_stepping()
        name = self.solve_name(stepping)
        if self._collected_for != name or stepping.controls_error:
            return None
        return self.statistics or _of_nodes(self.theta, name)

    def divide_statistics(self, statistics: Statistics | None) -> None:
        """Take over statistics that belong to the evaluations of the present solve, but on other pieces of θ."""
        if statistics is None or len({str(layout) for layout in map(_layout_of, statistics.tables)}) > 1:
            return
        old, number = [len(times) for times in statistics.times], self.theta.number_of_pieces
        if number % len(old) == 0:
            sizes = [size for rows in old for size in _parts(rows, number // len(old))]
        else:
            joined = len(old) // number
            sizes = [sum(old[k : k + joined]) for k in range(0, len(old), joined)]
        self.statistics = statistics.on_pieces(sizes, self.solve_name(self.present_stepping()))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Load a state dict, with the statistics that it has; if it has θ without statistics, there are none then."""
        found = statistics_in(state_dict, f"{prefix}statistics.")
        if found is not None:
            self.statistics = found.to(next((p.device for p in self.theta.parameters()), torch.get_default_device()))
        elif any(name.startswith(f"{prefix}theta.") for name in state_dict):
            self.statistics = None
        super()._load_from_state_dict(state_dict, prefix, *args)


def _parts(rows: int, number: int) -> list[int]:
    """Divide the rows on a piece among `number` pieces; the first one also has those of the start of a solver."""
    return [rows // number + (rows % number if k == 0 else 0) for k in range(number)]


def _layout(node: nn.Module) -> list[tuple[str, int]]:
    return [(name, norm.num_features) for name, norm in norms_of(node)]


def _layout_of(table: Moments) -> list[tuple[str, int]]:
    return [(name, mean.shape[1]) for name, (mean, _) in table.items()]


def _of_nodes(theta: Theta, solve: str) -> Statistics:
    """Return the running statistics of the nodes, each evaluated once on its own piece, as a table."""
    pieces = list(theta.pieces())
    tables = [
        {
            name: (norm.get_buffer("running_mean")[None].clone(), norm.get_buffer("running_var")[None].clone())
            for name, norm in norms_of(piece.nodes[0])
        }
        for piece in pieces
    ]
    return Statistics(tables, [[piece.start / theta.horizon] for piece in pieces], solve)


def knots_of_fine_steps(rows: Sequence[Any]) -> list[int]:
    """Return the indices of the evaluations at the ends of `fine_steps` on a piece; the last stage of RK4 is at t₁."""
    return [*range(0, len(rows), RK4.stages), len(rows) - 1]
