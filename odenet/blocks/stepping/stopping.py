"""What stops a solve by torchdiffeq before the end of its interval."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from torch import Tensor

from odenet.blocks.errors import MOST_ATTEMPTS


class Stopped(Exception):  # noqa: N818 (not an error: it unwinds)
    """Unwinds torchdiffeq's loop, and says why."""


def evaluations_by_default(options: Collection[str], solver: Any) -> float:
    """The evaluations that error control may take on a piece where no budget is given. Fixed steps end anyway.

    Args:
        options: names of the options of the method; SciPy's methods have a `solver` among them.
        solver: torchdiffeq's class of the method.
    """
    if "max_num_steps" not in options and "solver" not in options:
        return math.inf
    tableau = getattr(solver, "tableau", None)
    return MOST_ATTEMPTS * (6 if tableau is None else len(tableau.alpha))


def require_end_state(solution: Tensor) -> None:
    """Raise `Stopped` where the states at start and end are not both there: SciPy's solvers may give up before."""
    if len(solution) < 2:
        raise Stopped("SciPy's solver found no step small enough")


def reason_of(stop: Exception) -> str:
    """Why a solve stopped; an assertion that is not torchdiffeq's own about a step is raised again."""
    known = ("underflow", "max_num_steps", "non-finite")
    if isinstance(stop, AssertionError) and not any(word in str(stop) for word in known):
        raise stop
    return str(stop)
