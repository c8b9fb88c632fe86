"""Adaptive stepping: torchdiffeq chooses the steps of a solve by error control over the whole batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, Number
from odenet.blocks.arguments import as_int, checked
from odenet.blocks.field import Field
from odenet.blocks.projections import ConvexProjection, projected, require_convex, tangent_pieces
from odenet.blocks.stepping import torchdiffeq_bridge as bridge
from odenet.blocks.stepping.accepted_steps import projecting, require_one_step
from odenet.blocks.stepping.base import Plan, Projection, Step, Stepping, projected_plan
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import Piece


class Adaptive(Stepping):
    r"""Steps chosen by error control, ‖error of a step‖ ≤ atol + rtol·‖x‖ in the root mean square.

    Every piece of θ is a separate solve, so no step crosses a jump of θ.

    **Per batch** (the default), torchdiffeq takes the steps. The norm is over all samples. So the result of a sample
    depends on the rest of the batch, within the tolerance, and the stiffest sample determines the steps of all. If
    `max_evaluations` is spent or the step underflows, the state reached is returned with a `BudgetWarning` that names
    its t; torchdiffeq's assertions do not reach the caller. Its fixed-grid methods are accepted too: they take one step
    per piece, or steps of the option `step_size`, and ignore the tolerances.

    **Per sample**, with `per_sample=True`, every sample of the batch has its own t, h and error norm, and the object
    that is constructed is a `PerSampleAdaptive`; its documentation describes these steps.

    >>> Adaptive("dopri5", rtol=1e-3, atol=1e-4)
    Adaptive('dopri5', rtol=0.001, atol=0.0001)
    >>> Adaptive("tsit5", rtol=1e-6, atol=1e-6, per_sample=True)
    Adaptive('tsit5', rtol=1e-06, atol=1e-06, per_sample=True)

    Args:
        method: name of a method of torchdiffeq ("dopri5", "bosh3", "adaptive_heun", "dopri8", …), or per sample
            "dopri5", "tsit5", "bosh3" or "adaptive_heun".
        rtol: relative tolerance ≥ 0.
        atol: absolute tolerance ≥ 0; at least one of the tolerances is positive.
        max_evaluations: largest number of evaluations of F in one forward pass of the block. Under `ContinuousAdjoint`
            the backward solve of each piece may take as many again, and raises if they do not suffice. Per sample, the
            limit holds for each sample separately, and steps that are taken again do not count. None allows 4096
            attempted steps on each piece.
        per_sample: whether every sample has its own steps.
        **options: torchdiffeq's options of the method (`first_step`, `safety`, `step_size`, …).

    Raises:
        TypeError: if `per_sample` is neither True nor False.
        ValueError: if a method or option is unknown, or a tolerance or budget is out of range.
    """

    controls_error = True
    per_sample: bool = False
    """Whether every sample has its own steps."""

    _of_each_sample: ClassVar[type[Adaptive]]
    """Class for `per_sample=True`, a subclass of this class, set by the module that defines it."""

    def __new__(  # noqa: D102 (the signature is that of __init__, so that inspect shows the arguments)
        cls,
        method: str = "dopri5",
        rtol: Number = 1e-3,
        atol: Number = 1e-3,
        max_evaluations: int | None = None,
        *,
        per_sample: bool = False,
        **options: Any,
    ) -> Adaptive:
        del method, rtol, atol, max_evaluations, options  # checked by __init__
        return object.__new__(cls._of_each_sample if per_sample is True and cls is Adaptive else cls)

    @checked
    def __init__(
        self,
        method: str = "dopri5",
        rtol: Number = 1e-3,
        atol: Number = 1e-3,
        max_evaluations: Annotated[int | None, Inside()] = None,
        *,
        per_sample: Annotated[bool, Inside()] = False,
        **options: Any,
    ) -> None:
        if not isinstance(per_sample, bool):
            raise TypeError(
                f"per_sample = {per_sample!r}; the whole batch has one t, or every sample its own: pass True or False."
            )
        if per_sample and not self.per_sample:
            raise TypeError(
                f"per_sample=True was asked for with {type(self).__name__}, whose steps are for the whole batch: use "
                "Adaptive(…, per_sample=True), or derive the class from PerSampleAdaptive."
            )
        self._check_method(method, options)
        if not (rtol >= 0 and atol >= 0 and 0 < rtol + atol < math.inf):
            raise ValueError(
                f"rtol = {rtol!r}, atol = {atol!r}; error control needs a positive tolerance: pass finite numbers ≥ 0, "
                "at least one positive."
            )
        if max_evaluations is not None and not 1 <= (as_int(max_evaluations) or 0) < 2**63:
            raise ValueError(
                f"max_evaluations = {max_evaluations!r}; a budget must be an integer ≥ 1: pass a positive number of "
                "evaluations, or None."
            )
        self.method, self.rtol, self.atol = method, rtol, atol
        self.max_evaluations = None if max_evaluations is None else int(max_evaluations)
        self.options = options

    def _check_method(self, method: str, options: Mapping[str, Any]) -> None:
        """Raise a `ValueError` if the method or an option is unknown, with the nearest known name."""
        bridge.check_method(method, options)

    def integrate(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Tensor:
        """Compute x(T), solving each piece to the tolerance; a projection gives the projected dynamical system."""
        self._require_values(field, x)
        if not isinstance(projection, ConvexProjection):  # None, by `check_projection`
            return self._integrate(list(pieces), field, x, None)
        return self._integrate(
            tangent_pieces(pieces, projection), field, projected(projection, x, field.label), projection
        )

    def _require_values(self, field: Field, x: Tensor) -> None:
        """Raise if the values on which the steps depend are not there, or would be frozen into a recorded graph.

        Raises:
            ValueError: if `torch.jit.trace` or `torch.export` records this solve, or the state is on the meta device.
        """
        is_traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        if is_traced or torch.compiler.is_exporting():
            how = "torch.jit.trace" if is_traced else "torch.export"
            found = f"{how} was to record {self!r} in {field.label}, whose number of steps depends on the values of x"
        elif x.device.type == "meta":
            found = (
                f"{self!r} was to solve {field.label} on the meta device, where there are no values to choose steps by"
            )
        else:
            return
        raise ValueError(
            f"{found}: configure(net, stepping=FixedSteps(RK4(), per_piece=4)) first, whose steps are the same for "
            "every x (x(T) has the shape of x)."
        )

    def _integrate(
        self, pieces: Sequence[Piece], field: Field, x: Tensor, projection: ConvexProjection | None
    ) -> Tensor:
        field.fall_back_to_eager("torchdiffeq takes the steps one by one", "use per_sample=True, or FixedSteps")
        if not x.numel():
            return FixedSteps().integrate(pieces, field, x, None)  # an empty batch has no error to control
        for piece in filter(_has_field, pieces):
            field.enter(piece)
            x, complete = bridge.solve(field, piece, x, self._request(projection))
            x = x if projection is None else projection(x)
            if not complete:
                break
        return x

    def integrate_with_adjoint(
        self, pieces: Iterable[Piece], field: Field, x: Tensor, backward: Mapping[str, Any]
    ) -> Tensor:
        """Compute x(T); the adjoint equation is solved to the same tolerance, except for what `backward` sets."""
        self._require_values(field, x)
        if not x.numel():
            return FixedSteps().integrate(pieces, field, x, None)
        for piece in filter(_has_field, pieces):
            field.enter(piece)
            x, complete = bridge.solve_adjoint(field, piece, x, self._request(), backward)
            if not complete:
                break
        return x

    def plan(self, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None) -> Plan:
        """Solve, and return the accepted steps with the states before them."""
        self._require_values(field, x)
        if not isinstance(projection, ConvexProjection):
            return self._plan(list(pieces), field, x, None)
        pieces = tangent_pieces(pieces, projection)
        plan = self._plan(pieces, field, projected(projection, x, field.label), projection)
        return projected_plan(plan, pieces, x, projection)

    def _plan(self, pieces: Sequence[Piece], field: Field, x: Tensor, projection: ConvexProjection | None) -> Plan:
        if not x.numel():
            return FixedSteps().plan(pieces, field, x, None)
        steps: list[Step] = []
        states: list[Any] = []
        for piece in filter(_has_field, pieces):
            field.enter(piece)
            x, complete, accepted, before = bridge.solve_recording_steps(field, piece, x, self._request(projection))
            x = x if projection is None else projection(x)
            steps += [Step(piece, step) for step in accepted]
            states += before
            if not complete:
                break
        return Plan(steps, states, x)

    def _request(self, projection: ConvexProjection | None = None) -> bridge.Request:
        solver = bridge.solvers()[self.method]
        solver = solver if projection is None else projecting(solver, projection)
        return bridge.Request(self.method, solver, self.rtol, self.atol, self.options, self.max_evaluations)

    def check_projection(self, projection: Projection | None) -> None:
        """Refuse a projection that is not a `ConvexProjection`, because error control needs its tangent cones."""
        require_convex(projection, self)

    def check_plan(self) -> None:
        """Refuse multistep methods and SciPy's, whose steps cannot be taken again one by one."""
        require_one_step(self.method, bridge.solvers()[self.method])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Adaptive):
            return False
        ours, theirs = (
            {**vars(each), **each.options, "options": sorted(each.options), "per_sample": each.per_sample}
            for each in (self, other)
        )
        return ours.keys() == theirs.keys() and all(_equal(value, theirs[name]) for name, value in ours.items())

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        extras = {} if self.max_evaluations is None else {"max_evaluations": self.max_evaluations}
        extras |= {"per_sample": True} if self.per_sample else {}
        shown = "".join(f", {name}={value!r}" for name, value in (extras | self.options).items())
        return f"Adaptive({self.method!r}, rtol={self.rtol!r}, atol={self.atol!r}{shown})"


def _has_field(piece: Piece) -> bool:
    """Whether a branch is evaluated on the piece; x is constant on a piece that stochastic depth skips."""
    return bool(piece.nodes)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    return bool(a == b)
