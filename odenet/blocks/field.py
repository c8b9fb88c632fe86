"""The vector field of one forward pass: it calls the branch of the current piece, counts, and checks the result."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ParamSpec, Self, TypeVar

import torch
from torch import Tensor

from odenet.blocks.compile.programs import Programs, first_line
from odenet.blocks.errors import NonFiniteState, SolveReport
from odenet.blocks.integrals import Integrals
from odenet.blocks.replay.captures import Captures, ClosedNodes
from odenet.blocks.replay.positions import Positions
from odenet.blocks.signature import signature_error, size_error
from odenet.blocks.theta.base import Piece, Time

P = ParamSpec("P")
R = TypeVar("R")


class Field:
    """f(t, x) = F(t, x; θ(t)) on the current piece of θ, with a count of the evaluations.

    Args:
        label: name of the block in messages.
        checks_finite: whether to check every state and slope and to raise `NonFiniteState` at the first one that is not
            finite. Each check waits for the device, so this serves to find a fault and not for training.
        programs: compiled programs of the block, if it is compiled.
        closed: nodes of the block that are known to capture no tensors.

    Attributes:
        positions: numbers of evaluations on the pieces, if normalizations have statistics for each evaluation.
    """

    def __init__(
        self,
        label: str,
        *,
        checks_finite: bool = False,
        programs: Programs | None = None,
        closed: ClosedNodes | None = None,
    ) -> None:
        self.label, self.checks_finite, self.programs = label, checks_finite, programs
        self._closed = closed
        self.positions: Positions | None = None
        self.evaluations = 0
        self.last_solve: SolveReport | None = None
        self.integrals = Integrals()
        self.step = -1
        self.piece = -1
        self.cost = 1
        self._current: Piece | None = None
        self._captures: Captures | None = None
        self.branch: Callable[[Time, Tensor], Tensor]

    def enter(self, piece: Piece) -> None:
        """Make `piece` the current piece: from now on its branch is evaluated."""
        self.branch = self._field_of(piece)
        self.cost = 1 if piece.nodes else 0  # a piece without nodes was skipped by stochastic depth
        self.piece += 1
        self._current = piece

    @property
    def nodes(self) -> tuple[object, ...]:
        """Modules that the current piece evaluates."""
        return (self.branch,) if self._current is None else self._current.nodes

    def at(self, piece: Piece) -> Self:
        """Return this field, ready for one more step, which lies on `piece`."""
        if piece is not self._current:
            self.enter(piece)
        self.step += 1
        return self

    def find_captures(self) -> list[Tensor]:
        """Start to look for tensors that branches capture, and return the list that grows as they are found."""
        if self._captures is None:
            self._captures = Captures(ClosedNodes() if self._closed is None else self._closed, self.label)
            if self._current is not None:
                self.branch = self._field_of(self._current)
        return self._captures.tensors

    def _field_of(self, piece: Piece) -> Callable[[Time, Tensor], Tensor]:
        look = self._captures is not None and self._captures.may_be_read_on(piece)
        return self._find_captures_at if look else piece.field

    def _find_captures_at(self, t: Time, x: Tensor) -> Tensor:
        assert self._captures is not None
        assert self._current is not None
        if torch.is_grad_enabled():  # autograd records the captured tensors itself
            return self._current.field(t, x)
        self.branch = self._current.field  # only the first evaluation on a piece is examined
        return self._captures.first_evaluation(self._current, t, x)

    def program(self, key: Hashable, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` or, if the block is compiled, the compiled function that the block keeps under `key`.

        Args:
            key: values of all settings that the function reads besides its arguments. It must not read modules except
                those passed as positional arguments. If the key is known, its first function is used instead.
            function: function of tensors, modules and plain values, without side effects; it becomes one graph. A plain
                value among its arguments is compiled in, and another value compiles again.
        """
        return function if self.programs is None else self.programs.compiled(key, function, self.label)

    def fall_back_to_eager(self, why: str, instead: str) -> None:
        """Stop compiling: from now on `program` returns functions as they are, and a compiled block warns once.

        Args:
            why: reason, a clause.
            instead: advice on an alternative that can be compiled, a clause.
        """
        if self.programs is not None:
            self.programs.report(self.label, why, instead)
            self.programs = None

    def __call__(self, t: Time, x: Tensor) -> Tensor:
        """Evaluate x′ at (t, x), count the evaluation, and require the shape, dtype and device of x.

        Raises:
            TypeError: if the branch does not return a tensor, or does not take (t, x).
            ValueError: if the result has another shape, dtype or device, or the branch changed x in place.
        """
        if torch.compiler.is_compiling() or x.is_inference():
            # These tensors have no version counter. A compiler removes the copy unless the branch changes it.
            slope = self.branch(t, x.clone())
        else:
            version = x._version
            try:
                slope = self.branch(t, x)
            except (TypeError, RuntimeError) as error:
                clearer = self._clearer_error(error, t) or size_error(error, self.label, x)
                if clearer is None:
                    raise
                raise clearer from error
            if x._version != version:
                raise self._in_place_error(t)
        self.evaluations += self.cost
        if not isinstance(slope, Tensor) or slope.shape != x.shape or slope.device != x.device:
            raise self._mismatch_error(t, x, slope)
        if slope.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise self._mismatch_error(t, x, slope)
        if self.checks_finite:
            self.require_finite("state", t, x)
            self.require_finite("slope F(t, x)", t, slope)
        return slope

    def require_finite(self, what: str, t: Time, value: Tensor) -> None:
        """Raise `NonFiniteState` if `value`, called `what` in the message, has a NaN or an infinity."""
        if not torch.isfinite(value).all():
            kind = "NaN" if torch.isnan(value).any() else "infinite"
            where = f"t = {float(t):g} ({self._location()})"
            raise NonFiniteState(
                f"the {what} of {self.label} is {kind} at {where}; the flow cannot continue from there: check the "
                "input and the learning rate, take smaller steps (per_piece), or normalize inside the branch."
            )

    def _location(self) -> str:
        step = f", step {self.step}" if self.step >= 0 else ""
        return f"piece {self.piece}{step}, evaluation {self.evaluations}"

    def _in_place_error(self, t: Time) -> ValueError:
        return ValueError(
            f"in {self.label}, at t = {float(t):g} ({self._location()}), the branch changed its state x in place, but "
            "the solver still needs x: let the first layer work on a copy (inplace=False in a ReLU or dropout; x * 2 "
            "instead of x.mul_(2))."
        )

    def _clearer_error(self, error: Exception, t: Time) -> Exception | None:
        """Return a clearer error than the one that a branch raised, or None if there is none."""
        if "in-place operation" in str(error) and "leaf Variable" in str(error):
            return self._in_place_error(t)
        if "vmap" in str(error) and isinstance(error, RuntimeError):
            return ValueError(
                f"in {self.label} θ is interpolated between nodes at a different t for every sample, so the branch is "
                f"evaluated under torch.func.vmap, which it does not support ({first_line(error)}): use "
                "PiecewiseConstant or Constant, or per_sample=False."
            )
        nodes = () if self._current is None else self._current.nodes
        refusals = map(signature_error, nodes) if isinstance(error, TypeError) else ()
        return next((refusal for refusal in refusals if refusal is not None), None)

    def _mismatch_error(self, t: Time, x: Tensor, slope: object) -> Exception:
        where = f"in {self.label}, at t = {float(t):g} ({self._location()}), the branch"
        if not isinstance(slope, Tensor):
            return TypeError(f"{where} returned a {type(slope).__name__}; F(t, x) must be a tensor like x: return x′.")
        pairs = {"shape": (tuple(slope.shape), tuple(x.shape)), "dtype": (slope.dtype, x.dtype)}
        pairs["device"] = (slope.device, x.device)
        name, (found, expected) = next((k, v) for k, v in pairs.items() if v[0] != v[1])
        return ValueError(
            f"{where} returned {name} {found} for a state of {name} {expected}; a vector field keeps the {name} of its "
            "state: correct the branch, or move the layer that changes it into a transition between two flows."
        )
