"""What can go wrong in a solve: errors and warnings, and the status of each sample at its end."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor


class NonFiniteState(FloatingPointError):  # noqa: N818 (a state, as ZeroDivision is a division)
    """The state x(t) of a block became NaN or infinite: the message says in which block, at which t and step."""


class OdenetWarning(UserWarning):
    """Something the user should know about a result that is returned all the same."""


class BudgetWarning(OdenetWarning):
    """An adaptive solve stopped before the end of its interval: the state returned is that of an earlier t."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """A `ValueError` for a `name` that is none of the `known` ones, naming the nearest right one.

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
