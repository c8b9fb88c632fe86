"""The vector field of one forward pass: calls the branch in force, counts, and checks what it returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ParamSpec, Self, TypeVar

import torch
from torch import Tensor

from odenet.blocks.compile.programs import Programs, first_line
from odenet.blocks.errors import NonFiniteState, SolveReport
from odenet.blocks.replay.captures import Captures, ClosedNodes
from odenet.blocks.signature import refusal_of_times
from odenet.blocks.theta.base import Piece, Time

P = ParamSpec("P")
R = TypeVar("R")


class Field:
    """f(t, x) = F(t, x; θ(t)) on the piece entered last, with a count of its evaluations.

    Args:
        label: what messages call the block.
        watchful: look at every state and slope and raise `NonFiniteState` at the first one that is not finite. This
            reads values back from the device, so it serves to find a fault, not in training.
        programs: of the block, where it is compiled.
        closed: the nodes of the block that are known to capture no tensors.
    """

    def __init__(
        self,
        label: str,
        *,
        watchful: bool = False,
        programs: Programs | None = None,
        closed: ClosedNodes | None = None,
    ) -> None:
        self.label, self.watchful, self.programs = label, watchful, programs
        self._closed = closed
        self.evaluations = 0
        self.last_solve: SolveReport | None = None
        self.step = -1
        self.piece = -1
        self.cost = 1
        self._entered: Piece | None = None
        self._captures: Captures | None = None
        self.branch: Callable[[Time, Tensor], Tensor]

    def enter(self, piece: Piece) -> None:
        """From now on, evaluate the branch of `piece`."""
        self.branch = self._field_of(piece)
        self.cost = 1 if piece.nodes else 0  # where stochastic depth leaves the branch out, nothing is evaluated
        self.piece += 1
        self._entered = piece

    def at(self, piece: Piece) -> Self:
        """The field for one more step, which lies on `piece`."""
        if piece is not self._entered:
            self.enter(piece)
        self.step += 1
        return self

    def find_captures(self) -> list[Tensor]:
        """From now on, look for tensors that branches capture: the list that is returned grows as they are found."""
        if self._captures is None:
            self._captures = Captures(ClosedNodes() if self._closed is None else self._closed, self.label)
            if self._entered is not None:
                self.branch = self._field_of(self._entered)
        return self._captures.tensors

    def _field_of(self, piece: Piece) -> Callable[[Time, Tensor], Tensor]:
        looking = self._captures is not None and self._captures.may_be_read_on(piece)
        return self._looking_for_captures if looking else piece.field

    def _looking_for_captures(self, t: Time, x: Tensor) -> Tensor:
        assert self._captures is not None
        assert self._entered is not None
        if torch.is_grad_enabled():  # on autograd's own tape nothing is lost
            return self._entered.field(t, x)
        self.branch = self._entered.field  # the next evaluation is like any other
        return self._captures.first_evaluation(self._entered, t, x)

    def program(self, key: Hashable, function: Callable[P, R]) -> Callable[P, R]:
        """`function` itself, or, where the block is compiled, its compiled form, which the block keeps under `key`.

        Args:
            key: everything that the function reads besides its arguments: settings by value, modules not at all (pass
                them as arguments, by position). Under a key that was seen before, `function` is not looked at.
            function: of tensors, modules and plain values, without side effects; all that it calls becomes one graph.
                A plain value among its arguments is compiled in, and another value compiles again.
        """
        return function if self.programs is None else self.programs.compiled(key, function, self.label)

    def fall_back_to_eager(self, why: str, instead: str) -> None:
        """From now on `program` hands functions back; whoever asked for a compiled block is told, once.

        Args:
            why: the reason, a sentence.
            instead: what would be compiled.
        """
        if self.programs is not None:
            self.programs.report(self.label, why, instead)
            self.programs = None

    def __call__(self, t: Time, x: Tensor) -> Tensor:
        """x′ at (t, x); counted, and of the shape, dtype and device of x.

        Raises:
            TypeError, ValueError: the branch returned something else, does not take (t, x), or changed x in place.
        """
        if torch.compiler.is_compiling() or x.is_inference():
            # There are no versions to compare; a compiler leaves the copy out unless the branch changes it.
            slope = self.branch(t, x.clone())
        else:
            version = x._version
            try:
                slope = self.branch(t, x)
            except (TypeError, RuntimeError) as error:
                explained = self._explained(error, t)
                if explained is None:
                    raise
                raise explained from error
            if x._version != version:
                raise self._overwritten(t)
        self.evaluations += self.cost
        if not isinstance(slope, Tensor) or slope.shape != x.shape or slope.device != x.device:
            raise self._misfit(t, x, slope)
        if slope.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise self._misfit(t, x, slope)
        if self.watchful:
            self.require_finite("state", t, x)
            self.require_finite("slope F(t, x)", t, slope)
        return slope

    def require_finite(self, what: str, t: Time, value: Tensor) -> None:
        """Raise `NonFiniteState` where `value` has a NaN or an infinity."""
        if not torch.isfinite(value).all():
            kind = "NaN" if torch.isnan(value).any() else "infinite"
            where = f"t = {float(t):g} ({self._place()})"
            raise NonFiniteState(
                f"the {what} of {self.label} is {kind} at {where}; a flow cannot go on from there: look at the input "
                "and the learning rate, take smaller steps (per_piece), or normalize inside the branch."
            )

    def _place(self) -> str:
        step = f", step {self.step}" if self.step >= 0 else ""
        return f"piece {self.piece}{step}, evaluation {self.evaluations}"

    def _overwritten(self, t: Time) -> ValueError:
        return ValueError(
            f"in {self.label}, at t = {float(t):g} ({self._place()}), the branch changed its state x in place, and the "
            "solver still needs it: let the first layer work on a copy (inplace=False in a ReLU or dropout; x * 2 in "
            "the place of x.mul_(2))."
        )

    def _explained(self, error: Exception, t: Time) -> Exception | None:
        """What says better why a branch raised; None where that is not known."""
        if "in-place operation" in str(error) and "leaf Variable" in str(error):
            return self._overwritten(t)
        if "vmap" in str(error) and isinstance(error, RuntimeError):
            return ValueError(
                f"in {self.label} θ is interpolated between nodes, another one for every sample, so the branch is "
                f"evaluated under torch.func.vmap, which it does not bear ({first_line(error)}): use "
                "PiecewiseConstant or Constant, or per_sample=False."
            )
        nodes = () if self._entered is None else self._entered.nodes
        refusals = map(refusal_of_times, nodes) if isinstance(error, TypeError) else ()
        return next((refusal for refusal in refusals if refusal is not None), None)

    def _misfit(self, t: Time, x: Tensor, slope: object) -> Exception:
        where = f"in {self.label}, at t = {float(t):g} ({self._place()}), the branch"
        if not isinstance(slope, Tensor):
            return TypeError(f"{where} returned a {type(slope).__name__}; F(t, x) is a tensor like x: return x′.")
        pairs = {"shape": (tuple(slope.shape), tuple(x.shape)), "dtype": (slope.dtype, x.dtype)}
        pairs["device"] = (slope.device, x.device)
        name, (found, expected) = next((k, v) for k, v in pairs.items() if v[0] != v[1])
        return ValueError(
            f"{where} returned {name} {found} for a state of {name} {expected}; a vector field keeps the {name} of its "
            "state: mend the branch, or put what changes it into a transition between two flows."
        )
