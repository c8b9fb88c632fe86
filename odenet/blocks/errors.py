"""What goes wrong in a flow, said in three parts: what was asked, why it cannot be, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
