"""Fixed-step solvers by name."""

from __future__ import annotations

from odenet.blocks.errors import unknown_name
from odenet.blocks.solvers.embedded import Bosh3, Dopri5, Tsit5
from odenet.blocks.solvers.runge_kutta import RK4, ClassicalRK4, Euler, Heun, Heun3, Midpoint, Ralston, Solver

SOLVERS: dict[str, type[Solver]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun2": Heun,
    "ralston": Ralston,
    "heun3": Heun3,
    "rk4": RK4,
    "rk4_classical": ClassicalRK4,
    "bosh3": Bosh3,
    "dopri5": Dopri5,
    "tsit5": Tsit5,
}
"""Fixed-step solvers by name, for command lines and records; torchdiffeq's names for the methods that it has."""


def solver_named(name: str) -> Solver:
    """Return the solver called `name` in `SOLVERS`.

    >>> solver_named("midpoint")
    Midpoint()

    Raises:
        ValueError: if there is no such solver; the message gives the nearest name.
    """
    if name not in SOLVERS:
        raise unknown_name("solver", name, SOLVERS)
    return SOLVERS[name]()
