"""How a solve ended, for every sample of a batch: its status, its t, and what it cost."""

from __future__ import annotations

import warnings
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from odenet.blocks.errors import BudgetWarning


class Status(IntEnum):
    """What became of a sample; all but `FINISHED` leave it before the end of the interval."""

    RUNNING = 0
    FINISHED = 1
    BUDGET_SPENT = 2
    STEP_UNDERFLOW = 3
    NOT_FINITE = 4


_REASONS = {
    Status.BUDGET_SPENT: "spent the budget of evaluations",
    Status.STEP_UNDERFLOW: "needed steps below the rounding of t",
    Status.NOT_FINITE: "met a state or slope that is not finite",
}


MOST_ATTEMPTS = 4096
"""Steps tried on a piece of θ where no budget was given: for each sample, or for the batch."""


def advice(rtol: float | Tensor, dtype: torch.dtype) -> str:
    """What to do about a solve that stopped early; the field is not to blame where no step could be so exact."""
    rtol, rounding = float(rtol), torch.finfo(dtype).eps
    if is_below_rounding(rtol, dtype):
        finer = "" if dtype == torch.float64 else ", or use x.double()"
        return f"raise rtol = {rtol:g}, which is at or below the rounding of {dtype}, {rounding:.1g}{finer}"
    return "raise max_evaluations or the tolerances, or make the field smoother"


def is_below_rounding(rtol: float, dtype: torch.dtype) -> bool:
    """Whether no step could be so exact in this precision."""
    return rtol <= 4 * torch.finfo(dtype).eps


class SolveReport(NamedTuple):
    """One entry for every sample, of shape (batch,).

    A sample that stopped early counts as if it had been alone: evaluations that were made for its batch-mates, and
    masked for it, are not in its number.
    """

    status: Tensor
    """`Status` as an integer."""
    t: Tensor
    """Where it is, in units of depth-time: T where it is `FINISHED`."""
    evaluations: Tensor
    """Of F at this sample."""
    accepted: Tensor
    """Steps taken."""
    rejected: Tensor
    """Steps tried and not taken, for their error was too large."""

    def warn(self, method: str, label: str, end: float, hint: str) -> None:
        """One `BudgetWarning` for all samples that stopped before `end`, if any did, which counts them.

        Args:
            method: of the steps.
            label: of the block.
            end: of the solve.
            hint: what to do, from `advice`.
        """
        stopped = {status: int((self.status == status).sum()) for status in _REASONS}
        if not any(stopped.values()):
            return
        reasons = ", ".join(f"{number} {_REASONS[status]}" for status, number in stopped.items() if number)
        first = float(self.t[self.status != Status.FINISHED].min())
        warnings.warn(
            f"{method} stopped in {label} before t = {end:g} for {sum(stopped.values())} of {len(self.status)} "
            f"samples, for the first at t = {first:g}: {reasons}. The states that they reached are returned, and "
            f"their gradients are those at that t, as if it did not depend on x: {hint}.",
            BudgetWarning,
            stacklevel=2,
        )
