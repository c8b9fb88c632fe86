"""The ODE block: x(0) ↦ x(T) under x′ = F(x, t; θ(t)), a residual stage when stepped by Euler with h = 1."""

from __future__ import annotations

import math
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
from odenet.blocks.precision import full_precision, widened
from odenet.blocks.properties import ModuleWithProperties
from odenet.blocks.replay.captures import ClosedNodes
from odenet.blocks.stepping.base import Projection, Stepping
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.stochastic_depth import StochasticDepth
from odenet.blocks.theta.base import Theta
from odenet.blocks.theta.combination import is_differentiable

Compiled: TypeAlias = bool | Literal["reduce-overhead"]
"""Whether a block's integrations are compiled, and so that on a GPU they are launched as CUDA graphs."""


class ODEBlock(ModuleWithProperties):
    """x(0) ↦ x(T), the flow of x′ = F(x, t; θ(t)): θ × stepping × gradient × noise, each replaceable when trained.

    With the defaults on a `PiecewiseConstant` θ of N branches this is N residual blocks, x ← x + F_i(x), bit for bit:

    >>> from odenet import BasicBranch, ODEBlock, PiecewiseConstant
    >>> branches = [BasicBranch(4) for _ in range(3)]
    >>> block, x = ODEBlock(PiecewiseConstant(branches)).eval(), torch.randn(2, 4, 8, 8)
    >>> y = x
    >>> for branch in branches:
    ...     y = y + branch(0.0, y)
    >>> torch.equal(block(x), y), block.evaluations
    (True, 3)

    On a CPU the result is looked at, and a NaN or infinity raises with the t and step where it arose. On an accelerator
    that would make the host wait for the device, so there, and in compiled code, the caller looks (the training loop
    does); `locate_nonfinite` then finds the place.

    Args:
        theta: θ(t).
        stepping: `FixedSteps(Euler())` by default.
        gradient: `Backprop()` by default.
        projection: applied to x after every step, e.g. `Nonnegative()`, the ReLU of post-activation residual blocks.
            Error control solves the limit of small steps, for which it has to be a `ConvexProjection`.
        noise: stochastic depth, drawn anew in every forward pass in training mode; assignable.

    Attributes:
        evaluations: of F in the last forward pass, each of them for the whole batch.
        last_solve: under `Adaptive(per_sample=True)`, status, t, evaluations and steps of every sample in it.
        label: what messages call this block; networks set it to the block's place in them.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a combination that mathematics forbids; the message says what to use instead.
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
        self.label = "ODEBlock"
        self._programs = Programs()
        self._closed = ClosedNodes()
        self.compiled = False
        self._replace(
            self._stepping if stepping is None else stepping, self._gradient if gradient is None else gradient
        )
        self.noise = noise

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; what the rest of the block could not work with is refused, whenever it is assigned."""
        if name == "theta":
            self._check_theta(value)
        elif name == "projection":
            self._check_projection(value)
            if name in self._modules:
                del self._modules[name]  # a function may take the place of a module
        super().__setattr__(name, value)

    def _check_theta(self, theta: object) -> None:
        if not isinstance(theta, Theta):
            raise TypeError(
                f"ODEBlock was given a {type(theta).__name__} as θ; it needs to know how the parameters move over "
                "depth: wrap branches in Constant(branch) or PiecewiseConstant([branch, …])."
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
        """Where the steps lie; assignable, also on a trained block."""
        return self._stepping

    @stepping.setter
    def stepping(self, value: Stepping) -> None:
        self._replace(value, self._gradient)

    @property
    def gradient(self) -> GradientMethod:
        """How the gradient is had; assignable, also on a trained block."""
        return self._gradient

    @gradient.setter
    def gradient(self, value: GradientMethod) -> None:
        self._replace(self._stepping, value)

    @property
    def compiled(self) -> Compiled:
        """Whether integrations are compiled, forward and backward; assignable.

        The first training step takes seconds more, for each shape of x anew. Numbers are the same to rounding, except
        that dropout draws others, and a derivative of the gradient (create_graph=True) cannot be had. What is compiled
        stays with this block: copies compile anew, and a file of `save_model` does not say that the block was. Where
        something cannot be compiled it runs as it is, with a `CompileWarning`. In another torch.compile, no effect.

        "reduce-overhead", torch.compile's word for it, is for kernels on a GPU that take less time than launching them
        does: those of about ten evaluations become one CUDA graph, launched at once, for each shape of x. Results are
        copied out of its memory; gradients that `torch.autograd.grad` returns are not, and torch raises where one is
        read after the next forward pass (those in `grad` stay). On a CPU it is as True.
        """
        return self._compiled

    @compiled.setter
    def compiled(self, value: Compiled) -> None:
        if not isinstance(value, bool) and not (isinstance(value, str) and value == "reduce-overhead"):
            raise TypeError(
                f"compiled = {value!r}; a block is compiled or it is not: pass True or False, or 'reduce-overhead' for "
                "CUDA graphs."
            )
        cuda_graphs = value == "reduce-overhead"
        if value and cuda_graphs != self._programs.cuda_graphs:
            self._programs = Programs(cuda_graphs)
        self._compiled: Compiled = value

    @property
    def noise(self) -> StochasticDepth | None:
        """Stochastic depth, or None; assignable, also on a trained block."""
        return self._noise

    @noise.setter
    def noise(self, value: StochasticDepth | None) -> None:
        if value is not None:
            if not isinstance(value, StochasticDepth):
                raise TypeError(f"noise = {value!r}; pass StochasticDepth(survival), or None.")
            value.check(self.theta.number_of_pieces)
        self._noise = value

    def check(self, stepping: Stepping, gradient: GradientMethod) -> None:
        """Raise where this block cannot be stepped and differentiated so."""
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
        """x(T) from x = x(0), of the same shape.

        Raises:
            TypeError: x is no tensor, or one of whole numbers.
            ValueError: the branch changes the shape, dtype or device of its state, or T is beyond its precision.
            NonFiniteState: on a CPU, the state became NaN or infinite.
        """
        if isinstance(x, Proxy):  # torch.fx traces the network: to it a solve is one module
            tracer: Any = x.tracer
            return tracer.create_proxy("call_module", tracer.path_of_module(self), (x,), {})
        if not isinstance(x, Tensor) or not is_differentiable(x):
            raise _unfit_state(x, self.label)
        if self.theta.horizon > 6e4 and self.theta.horizon > torch.finfo(x.dtype).max:  # half precision ends at 65504
            raise ValueError(
                f"a solve up to t = {self.theta.horizon:g} was asked for in {self.label} with a state of {x.dtype}, "
                f"whose largest number is {torch.finfo(x.dtype).max:.2g}; t and h have its precision: take a shorter "
                "horizon and a faster field, or x.double()."
            )
        compiled = self._compiled and not torch.compiler.is_compiling()
        field = Field(self.label, programs=self._programs if compiled else None, closed=self._closed)
        y = self._integrate(field, x)
        if y is x:  # where nothing moved
            y = x.clone()
        self.evaluations, self.last_solve = field.evaluations, field.last_solve
        if not torch.compiler.is_compiling() and y.device.type == "cpu" and not _is_finite(y):
            self.locate_nonfinite(x)
            raise NonFiniteState(f"x(T) of {self.label} is not finite, by a fault that did not show a second time.")
        return y

    @checked
    @torch.no_grad()
    def locate_nonfinite(self, x: Tensor) -> None:
        """Solve again from x, look at every evaluation, and raise `NonFiniteState` at the first that is not finite."""
        field = Field(self.label, checks_finite=True)
        field.require_finite("output", self.theta.horizon, self._integrate(field, x))

    def _integrate(self, field: Field, x: Tensor) -> Tensor:
        pieces = self.theta.pieces()
        if self._noise is not None:
            if self.training:
                field.fall_back_to_eager("stochastic depth draws which branches are evaluated", "compile without noise")
            pieces = self._noise(pieces, x, training=self.training)
        if not self._stepping.controls_error or torch.compiler.is_compiling():
            return self._gradient.integrate(self._stepping, pieces, field, x, self.projection)
        x = widened(x)
        with full_precision(x.device.type):
            return self._gradient.integrate(self._stepping, pieces, field, x, self.projection)

    def extra_repr(self) -> str:
        """The settings, for `print(model)`."""
        noise = "" if self.noise is None else f", noise={self.noise}"
        return f"stepping={self.stepping}, gradient={self.gradient}, projection={self.projection}{noise}"


def _unfit_state(x: object, label: str) -> TypeError:
    if isinstance(x, Tensor):
        return TypeError(
            f"{label} was given a state of {x.dtype}; x moves continuously, in real or complex numbers: pass x.float()."
        )
    several = "join several tensors to one, as torch.cat(tensors, dim=1)" if isinstance(x, tuple | list | dict) else ""
    return TypeError(
        f"{label} was given a {type(x).__name__} as its state; a state is one tensor of shape (batch, …): "
        f"{several or 'pass a torch.Tensor, such as torch.as_tensor(x)'}."
    )


def _is_finite(y: Tensor) -> bool:
    try:
        # One pass over y; the sum of finite numbers may overflow, so only a bad sum is looked at in full.
        total = y.detach().sum()
        return math.isfinite(total.abs() if y.is_complex() else total) or bool(torch.isfinite(y).all())
    except RuntimeError:  # under torch.func.vmap there is no one value to look at
        return True


def label_blocks(model: nn.Module) -> None:
    """Name every ODE block of `model` after its place in it, for error messages."""
    for name, module in model.named_modules():
        if isinstance(module, ODEBlock):
            module.label = f"block {name!r}" if name else "ODEBlock"
