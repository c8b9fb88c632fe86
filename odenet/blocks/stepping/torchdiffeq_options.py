"""What is asked of torchdiffeq, and its options that place steps, on one piece of θ."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.annotations import AnyNumber, MayBeEmpty, NumberFromZero, OneOf, Within
from odenet.blocks.arguments import checked_value
from odenet.blocks.theta.base import Piece

Size: TypeAlias = float | Tensor
Times: TypeAlias = Tensor | Annotated[Sequence[AnyNumber], MayBeEmpty()]

HINTS: Mapping[str, Any] = {
    **dict.fromkeys(("first_step", "step_size"), Size | None),
    **dict.fromkeys(("max_step", "safety", "ifactor", "dfactor"), Size),
    "min_step": NumberFromZero | Tensor,
    **dict.fromkeys(("max_num_steps", "max_iters"), int),
    "max_order": Annotated[int, Within(1, 12)],
    **dict.fromkeys(("step_t", "jump_t"), Times | None),
    **dict.fromkeys(("perturb", "implicit"), bool),
    "norm": Callable[..., Any],
    "grid_constructor": Callable[..., Any] | None,
    "interp": Literal["linear", "cubic"],
    "solver": Annotated[str, OneOf(("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"))] | type,
}
"""Annotations of torchdiffeq's options, whose own constructors have none."""


def check_options(options: Mapping[str, Any]) -> None:
    """Raise a `TypeError` or `ValueError` that names an option of torchdiffeq where its value cannot be meant."""
    for name, value in options.items():
        if name in ("step_t", "jump_t") and hasattr(value, "__array__") and not isinstance(value, Tensor):
            value = value.tolist()
        unlimited = name == "max_step" and isinstance(value, float) and value == math.inf  # torchdiffeq's default
        if name in HINTS and not unlimited:
            checked_value(name, value, HINTS[name])
    if options.get("step_size") is not None and options.get("grid_constructor") is not None:
        raise ValueError(
            f"step_size = {options['step_size']!r} was asked for with a grid_constructor; each of them says where all "
            "steps lie: pass one of the two."
        )


@dataclass(frozen=True)
class Request:
    """A solve by torchdiffeq: a class of solvers with tolerances and options, and a budget of evaluations."""

    method: str
    """The name of the method, for messages."""
    solver: Any
    """torchdiffeq's class of the method, or one derived from it."""
    rtol: float = 0.0
    atol: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    max_evaluations: int | None = None

    def on_the_way_back(self, backward: Mapping[str, Any], solvers: Mapping[str, Any]) -> Request:
        """Return the solve of the adjoint equation: the same but for what `backward` gives.

        Args:
            backward: `adjoint_rtol`, `adjoint_atol`, `adjoint_method`, each where it differs.
            solvers: torchdiffeq's classes by name.
        """
        other = {name.removeprefix("adjoint_"): value for name, value in backward.items()}
        if other.get("method", self.method) != self.method:
            # Options are those of one method.
            other |= {"solver": solvers[other["method"]], "options": {}}
        return replace(self, **other)


def options_on(
    piece: Piece, end: float, request: Request, known: Collection[str], device: torch.device
) -> dict[str, Any]:
    """The options for a solve over a piece that ends at `end`, one of the piece's ends.

    Steps of error control end there, for torchdiffeq would step over it, and evaluate F outside. Of the times that a
    user wants to be met, those inside the piece are: at its ends a step ends anyway, and θ may jump.

    Args:
        piece: the interval.
        end: where the solve ends: at the end of the piece, or on the way back at its start.
        request: whose options they are.
        known: the names of the options that the method has.
        device: of the state.
    """
    options = dict(request.options)
    if "step_t" in known:
        jumps, steps = (_times_within(piece, options.get(name)) for name in ("jump_t", "step_t"))
        steps = [t for t in steps if t not in jumps]
        options["step_t"] = torch.tensor([*steps, end], dtype=torch.float64, device=device)
        if "jump_t" in options:
            options["jump_t"] = torch.tensor(jumps, dtype=torch.float64, device=device)
    if options.get("grid_constructor") is not None:
        options["grid_constructor"] = _Grid(options["grid_constructor"])
    return options


def positive_atol(atol: float, dtype: torch.dtype) -> float:
    """Return an absolute tolerance with which torchdiffeq's atol + rtol·|x|, by which it divides, is nowhere 0.

    With atol = 0 an entry x = 0 whose slope is 0 has the error 0/0, and the norm of all entries would be NaN. In double
    precision, where squares of errors do not overflow with this bound, solves leave x = 0 too.
    """
    return max(atol, torch.finfo(dtype).tiny, torch.finfo(torch.float32).tiny)


def never_zero(norm: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the norm of a complex state, at least 10⁻¹².

    Where F and its change are 0, torchdiffeq compares complex numbers to choose a first step, which torch refuses. It
    makes no difference to a later step, which after so small an error is as long as it may be.
    """

    def measured(x: Tensor) -> Tensor:
        size = norm(x)
        # Not clamped: the derivative of a root at 0 is infinite.
        return torch.full_like(size, 1e-12) if size < 1e-12 else size

    return measured


def _times_within(piece: Piece, times: Any) -> list[float]:
    """Those of `times` inside the piece, in order, each once."""
    given = [] if times is None else torch.as_tensor(times, dtype=torch.float64).flatten().tolist()
    return sorted({t for t in given if piece.start < t < piece.end})


class _Grid:
    """A user's `grid_constructor`, which is always asked for a grid in the direction of time, and looked at."""

    def __init__(self, construct: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        self.construct = construct

    def __call__(self, f: Any, x: Tensor, t: Tensor) -> Tensor:
        backwards = bool(t[0] > t[-1])
        times = t.flip(0) if backwards else t
        grid = torch.as_tensor(self.construct(f, x, times)).to(times)
        if grid.dim() != 1 or len(grid) < 2 or grid[0] != times[0] or grid[-1] != times[-1]:
            raise ValueError(
                f"grid_constructor made a grid of shape {tuple(grid.shape)}"
                + (f" from {grid[0]:g} to {grid[-1]:g}" if grid.dim() == 1 and len(grid) else "")
                + f" for the times from {times[0]:g} to {times[-1]:g}; it is called for every piece of θ, and its grid "
                "begins and ends where the piece does: build it from its argument t, as torch.linspace(t[0], t[1], 11)."
            )
        return grid.flip(0) if backwards else grid
