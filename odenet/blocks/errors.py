"""Errors and warnings of a solve, and the status of each sample at its end."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor


class NonFiniteState(FloatingPointError):  # noqa: N818 (named after the state)
    """Raised when the state x(t) of a block becomes NaN or infinite; the message names the block, t and the step."""


class OdenetWarning(UserWarning):
    """Base class of the warnings about a result that is returned all the same."""


class BudgetWarning(OdenetWarning):
    """Warns that an adaptive solve stopped early: the state returned belongs to a t before the end of the interval."""


class StatisticsWarning(OdenetWarning):
    """Warns that normalizations use statistics that were collected along another solve than the present one."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the `ValueError` for a `name` that is not among the `known` ones, with the nearest known name.

    >>> raise unknown_name("solver", "dopri6", ["dopri5", "rk4"])
    Traceback (most recent call last):
    ...
    ValueError: unknown solver 'dopri6'; did you mean 'dopri5'? Known: dopri5, rk4.
    """
    options = sorted(known)
    near = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return ValueError(f"unknown {kind} {name!r}{hint} Known: {', '.join(options)}.")


class Status(IntEnum):
    """State of a sample in an adaptive solve; only `FINISHED` means that it reached the end of the interval."""

    RUNNING = 0
    FINISHED = 1
    BUDGET_SPENT = 2
    STEP_UNDERFLOW = 3
    NOT_FINITE = 4


_REASONS = {
    Status.BUDGET_SPENT: "spent the budget of evaluations",
    Status.STEP_UNDERFLOW: "needed steps below the rounding of t",
    Status.NOT_FINITE: "met a non-finite state or slope",
}


MOST_ATTEMPTS = 4096
"""Default limit on the steps tried on one piece of θ, for each sample or for the batch, if no budget is given."""


def advice(rtol: float | Tensor, dtype: torch.dtype) -> str:
    """Return advice on a solve that stopped early; it names rtol if that is below the rounding of `dtype`."""
    rtol, rounding = float(rtol), torch.finfo(dtype).eps
    if is_below_rounding(rtol, dtype):
        finer = "" if dtype == torch.float64 else ", or use x.double()"
        return f"raise rtol = {rtol:g}, which is at or below the rounding of {dtype}, {rounding:.1g}{finer}"
    return "raise max_evaluations or the tolerances, or make the field smoother"


def is_below_rounding(rtol: float, dtype: torch.dtype) -> bool:
    """Whether no step can meet the relative tolerance `rtol`, because the rounding of `dtype` is as large."""
    return rtol <= 4 * torch.finfo(dtype).eps


class SolveReport(NamedTuple):
    """Report of an adaptive solve: each field has one entry for every sample, of shape (batch,).

    The counts of a sample are those of a solve of this sample alone: evaluations that were made for the rest of the
    batch after it stopped are not included.
    """

    status: Tensor
    """Status of each sample, a `Status` as an integer."""
    t: Tensor
    """Depth-time that each sample reached: T if it is `FINISHED`."""
    evaluations: Tensor
    """Number of evaluations of F."""
    accepted: Tensor
    """Number of accepted steps."""
    rejected: Tensor
    """Number of rejected steps, whose error was too large."""

    def warn(self, method: str, label: str, end: float, hint: str) -> None:
        """Issue one `BudgetWarning` that counts the samples that stopped before `end`, if there are any.

        Args:
            method: name of the method.
            label: name of the block in messages.
            end: end of the solve in depth-time.
            hint: clause that says what to do, from `advice`.
        """
        stopped = {status: int((self.status == status).sum()) for status in _REASONS}
        if not any(stopped.values()):
            return
        reasons = ", ".join(f"{number} {_REASONS[status]}" for status, number in stopped.items() if number)
        first = float(self.t[self.status != Status.FINISHED].min())
        warnings.warn(
            f"{method} stopped in {label} before t = {end:g} for {sum(stopped.values())} of {len(self.status)} "
            f"samples, the first one at t = {first:g}: {reasons}. The states that they reached are returned, with "
            f"gradients that treat the t reached as independent of x: {hint}.",
            BudgetWarning,
            stacklevel=2,
        )
