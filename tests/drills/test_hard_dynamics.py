"""Hard dynamics end, within seconds, with the right result or with a word on what kept it from being reached."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from odenet import RK4, Adaptive, BudgetWarning, Euler, FixedSteps, NonFiniteState, ODEBlock
from odenet.blocks.errors import Status
from odenet.blocks.stepping.base import Stepping
from tests.drills.hard_fields import FIELDS, Hard
from tests.drills.limit import Limit, TookTooLong
from tests.drills.tally import LONG, Counting

CAUSES = r"budget|underflow|rounding|non-?finite|not finite|infinite|NaN|horizon"
"""What a message may name as the cause."""

PLACES = r"t = |rtol|horizon"
"""Where it lies: a time, or what was asked for."""

BLAMES_THE_FIELD = "make the field smoother"

BUDGET = None if LONG else 150
"""In the suite a small one of the user's; in the long form that of the default, which has to be there."""


def for_the_batch(method: str) -> Callable[[Hard], Stepping]:
    return lambda hard: Adaptive(method, hard.rtol, hard.atol, BUDGET)


def for_each_sample(method: str) -> Callable[[Hard], Stepping]:
    return lambda hard: Adaptive(method, hard.rtol, hard.atol, BUDGET, per_sample=True)


STEPPINGS: dict[str, Callable[[Hard], Stepping]] = {
    **{f"batch {method}": for_the_batch(method) for method in ("dopri5", "bosh3", "adaptive_heun", "dopri8")},
    **{f"each {method}": for_each_sample(method) for method in ("dopri5", "tsit5", "bosh3", "adaptive_heun")},
    "fixed euler": lambda _: FixedSteps(Euler(), per_piece=20),
    "fixed rk4": lambda _: FixedSteps(RK4(), per_piece=20),
}
TAKEN = tuple(STEPPINGS) if LONG else ("batch dopri5", "each dopri5", "fixed rk4")


@pytest.mark.parametrize("hard", FIELDS, ids=lambda hard: hard.name)
@pytest.mark.parametrize("stepping", TAKEN)
def test_hard_dynamics_end_within_seconds_and_say_what_became_of_them(
    stepping: str, hard: Hard, tally: Counting, limited: Limit
) -> None:
    with tally(f"hard dynamics: {stepping.split()[0]}") as counts:
        faults: list[str] = []
        for with_gradient in (False, True):
            counts.tries += 1
            try:
                with limited():
                    fault = _fault(hard, STEPPINGS[stepping](hard), with_gradient)
            except TookTooLong as error:
                fault = str(error)
            if fault:
                counts.unnoticed += 1
                faults.append(f"{'with' if with_gradient else 'without'} a gradient: {fault}")
        counts.require_clean(faults)


def _fault(hard: Hard, stepping: Stepping, with_gradient: bool) -> str:
    """What is wrong with how a solve ended; empty if nothing is."""
    block, x = hard.block(), hard.start()
    block.stepping = stepping
    with warnings.catch_warnings(record=True) as caught, torch.set_grad_enabled(with_gradient):
        warnings.simplefilter("always")
        try:
            end = block(x.requires_grad_(with_gradient))
            if with_gradient:
                end.sum().backward()
        except (NonFiniteState, ValueError) as error:
            return _fault_of_words(str(error), hard, stepping)
        except Exception as error:
            return f"an error from inside: {error!r}"
    said = [str(warning.message) for warning in caught if issubclass(warning.category, BudgetWarning)]
    return _fault_of_result(hard, stepping, end.detach(), said) or _fault_of_status(block, said, hard)


def _fault_of_words(said: str, hard: Hard, stepping: Stepping) -> str:
    """A message names the block, the cause, and t; more precision than there is is not the field's fault."""
    if hard.name not in said or not re.search(CAUSES, said) or not re.search(PLACES, said):
        return f"the cause is not named: {said}"
    if (
        hard.rounds
        and isinstance(stepping, Adaptive)
        and (BLAMES_THE_FIELD in said or not re.search("rtol.*rounding", said))
    ):
        return f"it blames the field and not the tolerance: {said}"
    return ""


def _fault_of_result(hard: Hard, stepping: Stepping, end: Tensor, said: list[str]) -> str:
    """A result is finite; without a word it is the state at the end, and the right one under error control."""
    if not end.isfinite().all():
        return f"a state that is not finite came back: {end.tolist()}, {said}"
    if said:
        return next(filter(None, (_fault_of_words(each, hard, stepping) for each in said)), "")
    if isinstance(stepping, FixedSteps):
        return ""  # as good as its steps, which is not for it to say
    if not hard.solvable:
        return f"it came to the end without a word, which cannot be: {end.tolist()}"
    exact = end if hard.exact is None else hard.exact(hard.start())
    if float((end - exact).abs().max()) > hard.within * float(hard.start().abs().max()):
        return f"it came to the end without a word, and to {end.tolist()} where {exact.tolist()} is right"
    return ""


def _fault_of_status(block: ODEBlock, said: list[str], hard: Hard) -> str:
    """A sample is `FINISHED` at the end and nowhere else, and a word is said if one is not."""
    report: Any = block.last_solve
    if report is None:
        return ""
    finished = report.status == Status.FINISHED
    if not torch.equal(finished, report.t == hard.horizon):
        return f"finished {finished.tolist()} at t = {report.t.tolist()}"
    return "" if bool(finished.all()) != bool(said) else f"statuses {report.status.tolist()}, and it said {said}"
