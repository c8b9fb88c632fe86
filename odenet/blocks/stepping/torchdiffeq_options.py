"""Requests to torchdiffeq for a solve over one piece of θ, and its options that place steps."""

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
"""Type annotations of torchdiffeq's options, because torchdiffeq's constructors have none."""


def check_options(options: Mapping[str, Any]) -> None:
    """Raise a `TypeError` or `ValueError` if an option of torchdiffeq has a value of the wrong type or range."""
    for name, value in options.items():
        if name in ("step_t", "jump_t") and hasattr(value, "__array__") and not isinstance(value, Tensor):
            value = value.tolist()
        unlimited = name == "max_step" and isinstance(value, float) and value == math.inf  # torchdiffeq's default
        if name in HINTS and not unlimited:
            checked_value(name, value, HINTS[name])
    if options.get("step_size") is not None and options.get("grid_constructor") is not None:
        raise ValueError(
            f"step_size = {options['step_size']!r} was asked for with a grid_constructor, but each of them places all "
            "steps: pass one of the two."
        )


@dataclass(frozen=True)
class Request:
    """Settings of a solve by torchdiffeq: solver class, tolerances, options and budget of evaluations."""

    method: str
    """Name of the method in messages."""
    solver: Any
    """torchdiffeq's class of the method, or a subclass of it."""
    rtol: float = 0.0
    """Relative tolerance."""
    atol: float = 0.0
    """Absolute tolerance."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the method."""
    max_evaluations: int | None = None
    """Largest number of evaluations of F; None for the default budget."""

    def for_backward(self, backward: Mapping[str, Any], solvers: Mapping[str, Any]) -> Request:
        """Return the request for the backward solve: this one with the changes in `backward`.

        Args:
            backward: `adjoint_rtol`, `adjoint_atol` and `adjoint_method`, if they differ from the forward solve.
            solvers: torchdiffeq's solver classes by name.
        """
        other = {name.removeprefix("adjoint_"): value for name, value in backward.items()}
        if other.get("method", self.method) != self.method:
            # The options belong to the method of the forward solve.
            other |= {"solver": solvers[other["method"]], "options": {}}
        return replace(self, **other)


def options_on(
    piece: Piece, end: float, request: Request, known: Collection[str], device: torch.device
) -> dict[str, Any]:
    """Return the options for a solve over one piece.

    Under error control, torchdiffeq would step beyond the end of the solve and evaluate F there, so the end becomes one
    of `step_t`. Of the user's `step_t` and `jump_t`, the times inside the piece are kept; at its ends a step ends
    anyway, and θ may jump.

    Args:
        piece: piece of θ to solve over.
        end: depth-time at which the solve ends: the end of the piece, or its start for a backward solve.
        request: request whose options are used.
        known: names of the options of the method.
        device: device of the state.
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
    """Return atol, or a tiny positive number if it is 0, because torchdiffeq divides errors by atol + rtol·|x|.

    With atol = 0, an entry x = 0 with slope 0 would have the error ratio 0/0, and the norm of all entries would be NaN.
    In double precision the squares of the ratios do not overflow with this bound, so a solve from x = 0 with a slope
    that is not 0 succeeds as well.
    """
    return max(atol, torch.finfo(dtype).tiny, torch.finfo(torch.float32).tiny)


def bounded_below(norm: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a norm for complex states that is at least 10⁻¹².

    If F and its change are 0, torchdiffeq compares complex numbers to choose the first step, and torch raises. For
    later steps the bound makes no difference, as the step after so small an error has the largest allowed length.
    """

    def bounded_norm(x: Tensor) -> Tensor:
        size = norm(x)
        # Replaced and not clamped, because the derivative of a square root at 0 is infinite.
        return torch.full_like(size, 1e-12) if size < 1e-12 else size

    return bounded_norm


def _times_within(piece: Piece, times: Any) -> list[float]:
    """Return the times inside the piece in increasing order, each once."""
    given = [] if times is None else torch.as_tensor(times, dtype=torch.float64).flatten().tolist()
    return sorted({t for t in given if piece.start < t < piece.end})


class _Grid:
    """A user's `grid_constructor`, always called with increasing times, with a check of its grid."""

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
                "must begin and end with the piece: build it from its argument t, e.g. torch.linspace(t[0], t[1], 11)."
            )
        return grid.flip(0) if backwards else grid
