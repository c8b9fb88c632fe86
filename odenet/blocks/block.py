"""The ODE block: the map x(0) ↦ x(T) of x′ = F(x, t; θ(t)); stepped by Euler with h = 1 it is a residual stage."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.compile.programs import Programs
from odenet.blocks.errors import NonFiniteState, SolveReport
from odenet.blocks.field import Field
from odenet.blocks.gradients.base import Backprop, GradientMethod
from odenet.blocks.integrals import Integrals
from odenet.blocks.precision import full_precision, to_float32
from odenet.blocks.replay.captures import ClosedNodes
from odenet.blocks.statistics.flow import FlowWithStatistics, fine_steps
from odenet.blocks.stepping.base import Projection, Stepping
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.stochastic_depth import StochasticDepth
from odenet.blocks.theta.base import Piece, Theta

Compiled: TypeAlias = bool | Literal["reduce-overhead"]
"""Whether the solves of a block are compiled; with "reduce-overhead" they run as CUDA graphs on a GPU."""


class ODEBlock(FlowWithStatistics):
    """x(0) ↦ x(T), the flow of x′ = F(x, t; θ(t)), with a choice of θ, stepping, gradient method and noise.

    Each of the four can be replaced by assignment, on a trained block too. With the default settings and a
    `PiecewiseConstant` θ of N branches, the block computes N residual blocks, x ← x + F_i(x), bit for bit:

    >>> from odenet import BasicBranch, ODEBlock, PiecewiseConstant
    >>> branches = [BasicBranch(4) for _ in range(3)]
    >>> block, x = ODEBlock(PiecewiseConstant(branches)).eval(), torch.randn(2, 4, 8, 8)
    >>> y = x
    >>> for branch in branches:
    ...     y = y + branch(0.0, y)
    >>> torch.equal(block(x), y), block.evaluations
    (True, 3)

    On a CPU the block checks its result, and raises at a NaN or infinity with the t and the step where it arose. On an
    accelerator the check would make the host wait for the device. There, and in compiled code, the caller checks (the
    training loop does), and `locate_nonfinite` finds the place.

    Args:
        theta: parameters as a function of depth-time, θ(t).
        stepping: choice of the steps; `FixedSteps(Euler())` by default.
        gradient: gradient method; `Backprop()` by default.
        projection: function applied to x after every step, e.g. `Nonnegative()`, the ReLU of post-activation residual
            blocks. Error control solves the limit of small steps and needs a `ConvexProjection`.
        noise: stochastic depth, drawn again in every forward pass in training mode.

    Attributes:
        evaluations: number of evaluations of F in the last forward pass, each of them for the whole batch.
        last_solve: report of the last forward pass under `Adaptive(per_sample=True)`: status, t, evaluations and steps
            of every sample.
        integrals: integrals of costs in the last forward pass under `Regularized`, by name, one for each sample.
        label: name of this block in messages; networks set it to the name of the submodule.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the settings cannot be combined; the message says what to use instead.
    """

    @checked
    def __init__(
        self,
        theta: Annotated[Theta, Inside()],
        stepping: Annotated[Stepping | None, Inside()] = None,
        gradient: Annotated[GradientMethod | None, Inside()] = None,
        *,
        projection: Annotated[Projection | None, Inside()] = None,
        noise: Annotated[StochasticDepth | None, Inside()] = None,
    ) -> None:
        super().__init__()
        self._stepping, self._gradient, self._noise = FixedSteps(), Backprop(), None
        self.theta = theta
        self.projection = projection
        self.evaluations = 0
        self.last_solve: SolveReport | None = None
        self.integrals = Integrals()
        self.label = "ODEBlock"
        self._programs = Programs()
        self._closed = ClosedNodes()
        self.compiled = False
        self._replace(
            self._stepping if stepping is None else stepping, self._gradient if gradient is None else gradient
        )
        self.noise = noise

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, after a check that θ or the projection fits the other settings of the block."""
        if name == "theta":
            self._check_theta(value)
            if "theta" in self._modules:
                self._keep_statistics_for(value)
        elif name == "projection":
            self._check_projection(value)
            if name in self._modules:
                del self._modules[name]  # a function may take the place of a module
        super().__setattr__(name, value)

    def _check_theta(self, theta: object) -> None:
        if not isinstance(theta, Theta):
            raise TypeError(
                f"ODEBlock was given a {type(theta).__name__} as θ; it needs a Theta, the parameters as a function of "
                "depth-time: wrap branches in Constant(branch) or PiecewiseConstant([branch, …])."
            )
        if self._noise is not None:
            self._noise.check(theta.number_of_pieces)

    def _check_projection(self, projection: object) -> None:
        if projection is not None and not callable(projection):
            raise TypeError(
                f"projection = {projection!r}; it is applied to x after every step: pass a function of a tensor, such "
                "as torch.relu, or None."
            )
        self._stepping.check_projection(cast("Projection | None", projection))
        self._gradient.check(self._stepping, cast("Projection | None", projection))

    @property
    def stepping(self) -> Stepping:
        """Choice of the steps; can be assigned on a trained block."""
        return self._stepping

    @stepping.setter
    def stepping(self, value: Stepping) -> None:
        self._replace(value, self._gradient)

    @property
    def gradient(self) -> GradientMethod:
        """Gradient method; can be assigned on a trained block."""
        return self._gradient

    @gradient.setter
    def gradient(self, value: GradientMethod) -> None:
        self._replace(self._stepping, value)

    @property
    def compiled(self) -> Compiled:
        """Whether solves are compiled, forward and backward; can be assigned.

        The first training step with each shape of x takes some seconds more. Results are the same to rounding, except
        that dropout draws other masks. Derivatives of the gradient (create_graph=True) are not supported. The compiled
        programs belong to this block: a copy compiles again, and `save_model` does not store whether the block was
        compiled. A solve that cannot be compiled runs eagerly, with a `CompileWarning`. Inside another torch.compile
        the setting has no effect.

        "reduce-overhead", a mode of torch.compile, is for GPU kernels that take less time than their launch: the
        kernels of about ten evaluations become one CUDA graph for each shape of x. Results are copied out of the memory
        of the graph. Gradients returned by `torch.autograd.grad` are not, and torch raises if one is read after the
        next forward pass (gradients in `grad` stay valid). On a CPU it is the same as True.
        """
        return self._compiled

    @compiled.setter
    def compiled(self, value: Compiled) -> None:
        if not isinstance(value, bool) and not (isinstance(value, str) and value == "reduce-overhead"):
            raise TypeError(
                f"compiled = {value!r}; it is not a mode of compilation: pass True or False, or 'reduce-overhead' for "
                "CUDA graphs."
            )
        cuda_graphs = value == "reduce-overhead"
        if value and cuda_graphs != self._programs.cuda_graphs:
            self._programs = Programs(cuda_graphs)
        self._compiled: Compiled = value

    @property
    def noise(self) -> StochasticDepth | None:
        """Stochastic depth, or None; can be assigned on a trained block."""
        return self._noise

    @noise.setter
    def noise(self, value: StochasticDepth | None) -> None:
        if value is not None:
            if not isinstance(value, StochasticDepth):
                raise TypeError(f"noise = {value!r}; pass StochasticDepth(survival), or None.")
            value.check(self.theta.number_of_pieces)
        self._noise = value

    def check(self, stepping: Stepping, gradient: GradientMethod) -> None:
        """Raise an error unless this block can be solved with this stepping and this gradient method.

        Args:
            stepping: choice of the steps.
            gradient: gradient method.

        Raises:
            TypeError: if an argument has the wrong type.
            ValueError: if they cannot be combined with each other or with the projection.
        """
        if not isinstance(stepping, Stepping):
            raise TypeError(f"stepping = {stepping!r}; pass a Stepping, e.g. FixedSteps(RK4()) or Adaptive('dopri5').")
        if not isinstance(gradient, GradientMethod):
            raise TypeError(f"gradient = {gradient!r}; pass a GradientMethod, e.g. Backprop() or ContinuousAdjoint().")
        stepping.check_projection(self.projection)
        gradient.check(stepping, self.projection)

    def _replace(self, stepping: Stepping, gradient: GradientMethod) -> None:
        self.check(stepping, gradient)
        self._stepping, self._gradient = stepping, gradient

    def forward(self, x: Tensor) -> Tensor:
        """Return x(T) from x = x(0), of the same shape.

        Raises:
            TypeError: if x is not a floating-point or complex tensor.
            ValueError: if the branch changes the shape, dtype or device of its state, or the dtype of x cannot
                represent T.
            NonFiniteState: if the state becomes NaN or infinite, on a CPU.
        """
        if isinstance(x, Proxy):  # torch.fx is tracing the network, and the block is a leaf module in its graph
            tracer: Any = x.tracer
            return tracer.create_proxy("call_module", tracer.path_of_module(self), (x,), {})
        if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
            raise _state_error(x, self.label)
        if self.theta.horizon > 6e4 and self.theta.horizon > torch.finfo(x.dtype).max:  # half precision ends at 65504
            raise ValueError(
                f"a solve up to t = {self.theta.horizon:g} was asked for in {self.label} with a state of {x.dtype}, "
                f"whose largest number is {torch.finfo(x.dtype).max:.2g}; t and h have the dtype of the state: use a "
                "shorter horizon and a faster field, or x.double()."
            )
        compiled = self._compiled and not torch.compiler.is_compiling() and self._collector is None
        field = Field(self.label, programs=self._programs if compiled else None, closed=self._closed)
        y = self._integrate(field, x)
        if y is x:  # no step was taken, but the caller may change the result in place
            y = x.clone()
        self.evaluations, self.last_solve, self.integrals = field.evaluations, field.last_solve, field.integrals
        if not torch.compiler.is_compiling() and y.device.type == "cpu" and not _is_finite(y):
            self.locate_nonfinite(x)
            raise NonFiniteState(
                f"x(T) of {self.label} is not finite, but a second solve from the same x(0) is finite: make sure that "
                "the branch repeats its results."
            )
        return y

    @checked
    @torch.no_grad()
    def locate_nonfinite(self, x: Tensor) -> None:
        """Solve from x with a check of every evaluation, and raise `NonFiniteState` at the first that is not finite."""
        field = Field(self.label, checks_finite=True)
        field.require_finite("output", self.theta.horizon, self._integrate(field, x))

    def _integrate(self, field: Field, x: Tensor) -> Tensor:
        pieces, field.positions = self._pieces()
        if self._noise is not None:
            if self.training:
                field.fall_back_to_eager("stochastic depth draws which branches are evaluated", "compile without noise")
            pieces = self._noise(pieces, x, training=self.training)
        stepping = self._stepping.drawn(training=self.training)
        if self._collected_for is not None:
            self._compare_statistics_with(stepping, field.positions)
        if not stepping.controls_error or torch.compiler.is_compiling():
            return self._gradient.integrate(stepping, pieces, field, x, self.projection)
        x = to_float32(x)
        with full_precision(x.device.type):
            if self._collector is not None:
                return self._integrate_finely(pieces, field, x)
            return self._gradient.integrate(stepping, pieces, field, x, self.projection)

    def _integrate_finely(self, pieces: Iterable[Piece], field: Field, x: Tensor) -> Tensor:
        """Compute x(T) by small fixed steps, along which statistics are collected as functions of t."""
        x = x if self.projection is None else self.projection(x)
        return fine_steps(self.theta.number_of_pieces).integrate(pieces, field, x, self.projection)

    def present_stepping(self) -> Stepping:
        """Return the stepping of evaluation mode, as the gradient method takes it."""
        return self._gradient.forward_stepping(self._stepping.drawn(training=False))

    def solve_name(self, stepping: Stepping) -> str:
        """Return the name of a solve by this stepping, which differs for solves with different evaluations of F."""
        steps = "error control" if stepping.controls_error else repr(self._gradient.forward_stepping(stepping))
        return f"{steps} on {self.theta.number_of_pieces} pieces of [0, {self.theta.horizon:g}]"

    def extra_repr(self) -> str:
        """Return the settings, as shown by `print(model)`."""
        noise = "" if self.noise is None else f", noise={self.noise}"
        return f"stepping={self.stepping}, gradient={self.gradient}, projection={self.projection}{noise}"


def _state_error(x: object, label: str) -> TypeError:
    if isinstance(x, Tensor):
        return TypeError(
            f"{label} was given a state of {x.dtype}; the state of an ODE is real or complex: pass x.float()."
        )
    several = "join the tensors into one, e.g. torch.cat(tensors, dim=1)" if isinstance(x, tuple | list | dict) else ""
    return TypeError(
        f"{label} was given a {type(x).__name__} as its state; a state is one tensor of shape (batch, …): "
        f"{several or 'pass a torch.Tensor, such as torch.as_tensor(x)'}."
    )


def _is_finite(y: Tensor) -> bool:
    try:
        # The sum takes one pass over y, but it may overflow, so if it is not finite the entries are checked.
        total = y.detach().sum()
        return math.isfinite(total.abs() if y.is_complex() else total) or bool(torch.isfinite(y).all())
    except RuntimeError:  # torch.func.vmap does not allow a decision that depends on values
        return True


def label_blocks(model: nn.Module) -> None:
    """Set the label of every ODE block in `model` to the name of the submodule, for error messages."""
    for name, module in model.named_modules():
        if isinstance(module, ODEBlock):
            module.label = f"block {name!r}" if name else "ODEBlock"
