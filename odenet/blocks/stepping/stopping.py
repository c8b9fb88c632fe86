"""Early stops of a solve by torchdiffeq: the exception, the default budget, and the reasons."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from torch import Tensor

from odenet.blocks.errors import MOST_ATTEMPTS


class Stopped(Exception):  # noqa: N818 (not an error: it unwinds)
    """Raised by the field to leave torchdiffeq's loop; the message is the reason."""


def default_budget(options: Collection[str], solver: Any) -> float:
    """Return the default budget of evaluations on one piece; infinity for fixed steps, which always end.

    Args:
        options: names of the options of the method; SciPy's methods have an option `solver`.
        solver: torchdiffeq's class of the method.
    """
    if "max_num_steps" not in options and "solver" not in options:
        return math.inf
    tableau = getattr(solver, "tableau", None)
    return MOST_ATTEMPTS * (6 if tableau is None else len(tableau.alpha))


def require_end_state(solution: Tensor) -> None:
    """Raise `Stopped` unless the solution has the states at both ends; SciPy's solvers may stop before the end."""
    if len(solution) < 2:
        raise Stopped("SciPy's solver found no step small enough")


def reason_of(stop: Exception) -> str:
    """Return why a solve stopped; an `AssertionError` that torchdiffeq did not raise about a step is raised again."""
    known = ("underflow", "max_num_steps", "non-finite")
    if isinstance(stop, AssertionError) and not any(word in str(stop) for word in known):
        raise stop
    return str(stop)
