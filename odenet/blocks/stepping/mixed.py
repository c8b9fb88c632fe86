"""Mixed stepping: every training batch is solved by a stepping that is drawn at random."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any

import torch
from torch import Tensor

from odenet.blocks.annotations import Within
from odenet.blocks.arguments import checked
from odenet.blocks.field import Field
from odenet.blocks.stepping.base import Plan, Projection, ReversiblePlan, Stepping
from odenet.blocks.theta.base import Piece


class Mixed(Stepping):
    """Stepping i with probability p_i, drawn for each forward pass in training mode; one of them in evaluation mode.

    A network trained so has not learned the errors of one solver, so it can be solved by others afterwards, and stopped
    at any number of evaluations. The draw is one number of torch's generator on the CPU: `odenet.training.fit` lets all
    processes draw alike. A backward pass takes the steps of its forward pass again, whatever the gradient method.

    >>> from odenet import Euler, FixedSteps, Midpoint
    >>> Mixed([FixedSteps(Euler()), FixedSteps(Midpoint())], probabilities=[0.75, 0.25])
    Mixed([FixedSteps(Euler(), per_piece=1), FixedSteps(Midpoint(), per_piece=1)], probabilities=[0.75, 0.25])

    Args:
        members: steppings to draw from.
        probabilities: weight of each member, at least 0, normalized to a sum of 1; None for equal probabilities.
        evaluation: stepping in evaluation mode; None for the first member. Assignable.

    Raises:
        TypeError: if a member is not a `Stepping`.
        ValueError: if there is no member, or the probabilities are not one number ≥ 0 for each, with a positive sum.
    """

    @checked
    def __init__(
        self,
        members: Sequence[Stepping],
        probabilities: Sequence[Annotated[float, Within(0)]] | None = None,
        evaluation: Stepping | None = None,
    ) -> None:
        self.members = list(members)
        if any(isinstance(member, Mixed) for member in self.members):
            raise TypeError(f"members must be steppings other than Mixed, got {members!r}: list the steppings of each.")
        self.probabilities = [1.0] * len(self.members) if probabilities is None else list(probabilities)
        if len(self.probabilities) != len(self.members) or not sum(self.probabilities) > 0:
            raise ValueError(
                f"probabilities must be one number for each of {len(self.members)} members, with a positive sum, got "
                f"{probabilities!r}: pass such numbers, or None for equal probabilities."
            )
        self.evaluation = evaluation

    def drawn(self, *, training: bool) -> Stepping:
        """Return the stepping of one forward pass."""
        if not training:
            return self.members[0] if self.evaluation is None else self.evaluation
        number = torch.rand((), device="cpu").item() * sum(self.probabilities)
        return self.members[bisect(list(accumulate(self.probabilities))[:-1], number)]

    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:
        """Compute x(T) by the stepping of evaluation mode."""
        return self.drawn(training=False).integrate(pieces, field, x, projection)

    def integrate_with_adjoint(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, backward: Mapping[str, Any]
    ) -> Tensor:
        """Compute x(T) by the stepping of evaluation mode, with the gradient of the adjoint equation."""
        return self.drawn(training=False).integrate_with_adjoint(pieces, field, x, backward)

    def plan(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Plan:
        """Return the steps of the stepping of evaluation mode."""
        return self.drawn(training=False).plan(pieces, field, x, projection)

    def reversible_plan(
        self, pieces: Sequence[Piece], field: Field, x: Tensor, coupling: float | None
    ) -> ReversiblePlan | None:
        """Return the reversible steps of the stepping of evaluation mode."""
        return self.drawn(training=False).reversible_plan(pieces, field, x, coupling)

    def coupled(self, coupling: float | None) -> Stepping:
        """Return the stepping of evaluation mode, coupled."""
        return self.drawn(training=False).coupled(coupling)

    def check_projection(self, projection: Projection | None) -> None:
        """Refuse what any of the steppings refuses."""
        for stepping in self._all():
            stepping.check_projection(projection)

    def check_plan(self) -> None:
        """Refuse what any of the steppings refuses."""
        for stepping in self._all():
            stepping.check_plan()

    def check_adjoint(self, backward: Mapping[str, Any]) -> None:
        """Refuse what any of the steppings refuses."""
        for stepping in self._all():
            stepping.check_adjoint(backward)

    def check_reversible(self, coupling: float | None) -> None:
        """Refuse what any of the steppings refuses."""
        for stepping in self._all():
            stepping.check_reversible(coupling)

    def _all(self) -> list[Stepping]:
        return self.members if self.evaluation is None else [*self.members, self.evaluation]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mixed) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        given = "" if len(set(self.probabilities)) == 1 else f", probabilities={self.probabilities}"
        given += "" if self.evaluation is None else f", evaluation={self.evaluation!r}"
        return f"Mixed({self.members}{given})"
