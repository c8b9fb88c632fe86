"""Branches that do more than compute F(t, x) from their own parameters, and flows made of them.

Each peculiarity is a situation from public bug reports. A flow of such branches has the gradient and the buffers of
backpropagation, or it is refused with an error that names the cause and an alternative.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    AsynchronousLeapfrog,
    Backprop,
    Constant,
    ContinuousAdjoint,
    Coupled,
    Euler,
    FixedSteps,
    Heun,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Reversible,
    RungeKutta,
    StochasticDepth,
    Theta,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.theta.base import Time

PECULIARITIES = (
    "captures an encoder's output",
    "captures a parameter that its parameters made",
    "reads an unregistered parameter",
    "keeps a running mean",
    "keeps a running mean by way of data",
    "works in place",
    "draws random numbers",
    "draws numbers of NumPy",
    "is complex",
    "is frozen in part",
    "changes mode after the forward pass",
    "is frozen after the forward pass",
)

STEPPINGS: tuple[Stepping, ...] = (
    FixedSteps(Euler(), per_piece=2),
    FixedSteps(RK4()),
    FixedSteps(Coupled(Heun()), per_piece=2),
    FixedSteps(AsynchronousLeapfrog(), per_piece=2),
    Adaptive("dopri5", rtol=1e-5, atol=1e-5, max_evaluations=300),
    Adaptive("rk4", step_size=0.25),
    Adaptive("bosh3", rtol=1e-4, atol=1e-4, max_evaluations=150, per_sample=True),
)

NOISES: tuple[StochasticDepth | None, ...] = (None, StochasticDepth(0.6), StochasticDepth(0.6, per="sample"))

THETAS: dict[str, Callable[[list[nn.Module]], Theta]] = {
    "Constant": lambda nodes: Constant(nodes[0]),
    "PiecewiseConstant": lambda nodes: PiecewiseConstant(nodes, horizon=1.0),
    "PiecewiseLinear": lambda nodes: PiecewiseLinear(nodes, horizon=1.0),
}


class Peculiar(nn.Module):
    """F(t, x) = tanh(W·x + b + t), scaled and shifted by other tensors that it reads."""

    def __init__(self, what: frozenset[str], dtype: torch.dtype) -> None:
        super().__init__()
        self.what = what
        self.weight = nn.Parameter(0.5 * torch.randn(3, 3, dtype=dtype))
        self.bias = nn.Parameter(0.5 * torch.randn(3, dtype=dtype))
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))
        self.outside: list[Tensor] = []
        """Captured tensors, in a list, so that no module registers them."""
        if "is frozen in part" in what:
            self.bias.requires_grad_(False)

    def forward(self, t: Time, x: Tensor) -> Tensor:
        if "works in place" in self.what:
            x = x.mul_(2.0)
        y = x @ self.weight + self.bias + t
        for tensor in self.outside:
            y = y * (1 + tensor / 4)
        if self.training and {"keeps a running mean", "keeps a running mean by way of data"} & self.what:
            mean = self.get_buffer("mean")
            (mean if "keeps a running mean" in self.what else mean.data).lerp_(x.detach().real.mean(0), 0.3)
            y = y - mean
        if "draws random numbers" in self.what and self.training:
            y = y * (torch.rand_like(y.real if y.is_complex() else y) > 0.4)
        if "draws numbers of NumPy" in self.what and self.training:
            y = y + float(np.random.rand())  # noqa: NPY002
        return torch.tanh(y)


class Outcome(NamedTuple):
    """Results of a forward and a backward pass."""

    y: Tensor
    gradients: list[Tensor]
    buffers_between: list[Tensor]
    buffers_after: list[Tensor]


class Case(NamedTuple):
    """A flow of peculiar branches: its stepping, noise, kind of θ, and the peculiarities of its branches."""

    stepping: Stepping
    noise: StochasticDepth | None
    theta: str
    what: frozenset[str]

    @property
    def dtype(self) -> torch.dtype:
        return torch.complex128 if "is complex" in self.what else torch.float64

    def run(self, gradient: GradientMethod, stepping: Stepping | None = None) -> Outcome:
        """Run both passes, with the same random numbers for every gradient method."""
        torch.manual_seed(0)
        nodes = [Peculiar(self.what, self.dtype) for _ in range(2)]
        block = ODEBlock(THETAS[self.theta](list(nodes)), stepping or self.stepping, gradient, noise=self.noise)
        if isinstance(gradient, ContinuousAdjoint):
            block.stepping = self._fine()
        x = torch.randn(4, 3, dtype=self.dtype, requires_grad=True)
        inputs = [x, *(p for p in block.parameters() if p.requires_grad), *self._outside(nodes)]
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        y = block(x)
        between = [buffer.clone() for buffer in block.buffers()]
        if "changes mode after the forward pass" in self.what:
            block.eval()
        if "is frozen after the forward pass" in self.what:
            nodes[0].weight.requires_grad_(False)
        weights = torch.linspace(1, 2, y.numel(), dtype=torch.float64).view_as(y)
        loss = ((y.real + 2 * y.imag if y.is_complex() else y) * weights).sum()
        inputs = [tensor for tensor in inputs if tensor.requires_grad]
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
        return Outcome(y.detach(), list(gradients), between, [buffer.clone() for buffer in block.buffers()])

    def _fine(self) -> Stepping:
        """Return the stepping, with enough fixed steps to solve the adjoint equation almost exactly."""
        if isinstance(self.stepping, FixedSteps):
            return FixedSteps(self.stepping.solver, 32 * self.stepping.per_piece)
        return self.stepping

    def _outside(self, nodes: list[Peculiar]) -> list[Tensor]:
        """Give the branches the tensors that they capture, and return the leaves of these."""
        leaves: list[Tensor] = []
        for node in nodes:
            if "captures an encoder's output" in self.what:
                encoder = torch.randn(3, dtype=self.dtype, requires_grad=True)
                leaves.append(encoder)
                node.outside.append(torch.sin(encoder))
            if "captures a parameter that its parameters made" in self.what:
                node.outside.append(node.weight.sum(0).sin())
            if "reads an unregistered parameter" in self.what:
                leaves.append(torch.randn((), dtype=self.dtype, requires_grad=True))
                node.outside.append(leaves[-1])
        return leaves

    def reference(self, gradient: GradientMethod) -> tuple[Stepping, float]:
        """Return a stepping with which backpropagation takes the steps of `gradient`, and a tolerance."""
        if isinstance(gradient, ContinuousAdjoint):
            return self._fine(), 0.05
        if isinstance(gradient, Reversible) and isinstance(self.stepping, Adaptive):
            return self.stepping, 1e-2
        if isinstance(self.stepping, Adaptive) and not self.stepping.per_sample and not isinstance(gradient, Backprop):
            return self.stepping, 1e-3  # backpropagation also differentiates torchdiffeq's choice of step lengths
        if isinstance(gradient, Reversible) and isinstance(self.stepping, FixedSteps):
            solver = self.stepping.solver
            if isinstance(solver, RungeKutta):
                return FixedSteps(Coupled(solver, gradient.coupling), self.stepping.per_piece), 1e-9
        return self.stepping, 1e-9

    def reasons_to_refuse(self, gradient: GradientMethod) -> Iterator[str]:
        """Yield, for each reason why this combination is refused, a pattern of the cause in the message."""
        stepping, adjoint = self.stepping, isinstance(gradient, ContinuousAdjoint)
        adaptive = isinstance(stepping, Adaptive)
        per_sample = isinstance(stepping, Adaptive) and stepping.per_sample
        coupled = isinstance(stepping, FixedSteps) and not isinstance(stepping.solver, RungeKutta)
        again = not isinstance(gradient, Backprop)
        keeps = {"keeps a running mean", "keeps a running mean by way of data"} & self.what
        if adjoint and (per_sample or coupled):
            yield "ContinuousAdjoint was asked for with"
        if isinstance(gradient, Reversible) and adaptive and not per_sample:
            yield "whose steps cannot be undone"
        if isinstance(gradient, Reversible) and gradient.coupling and coupled:
            yield "is reversible by itself"
        if "works in place" in self.what:
            yield "changed its state x in place"
        if "is complex" in self.what and (adjoint or per_sample):
            yield "complex"
        if "draws numbers of NumPy" in self.what and again:
            yield "draws from Python's or NumPy's random generator"
        if "draws random numbers" in self.what and (adjoint or per_sample or (adaptive and again)):
            yield "draws.* at random|draws random numbers"
        if keeps and (adjoint or (adaptive and again)):
            yield "changes the buffer 'mean'"
        if keeps and self.theta == "PiecewiseLinear":
            yield "changed its buffer 'mean' between two nodes"
        if self.theta == "PiecewiseLinear" and per_sample:
            yield "evaluated under torch.func.vmap"


CASES = st.builds(
    Case,
    st.sampled_from(STEPPINGS),
    st.sampled_from(NOISES),
    st.sampled_from(sorted(THETAS)),
    st.frozensets(st.sampled_from(PECULIARITIES), max_size=4),
)


def require_right_or_refused(case: Case, gradient: GradientMethod) -> None:
    """Require the gradient and buffers of backpropagation, or an error that names the cause and an alternative."""
    reasons = list(case.reasons_to_refuse(gradient))
    try:
        found = case.run(gradient)
    except (TypeError, ValueError, RuntimeError) as error:
        message = str(error)
        assert any(re.search(reason, message) for reason in reasons), f"{case} under {gradient} was refused: {message}"
        assert re.search(r": (use|let|write|draw|register|make|correct|assign|take|pass)\b|use ", message), (
            f"no alternative is named: {message}"
        )
        return
    stepping, within = case.reference(gradient)
    expected = case.run(Backprop(), stepping)
    torch.testing.assert_close(found.y, expected.y, rtol=within, atol=within)
    for ours, exact in zip(found.gradients, expected.gradients, strict=True):
        scale = max(1.0, float(exact.abs().max()))
        torch.testing.assert_close(ours, exact, rtol=within, atol=within * scale)
    assert all(map(torch.equal, found.buffers_between, found.buffers_after))
    torch.testing.assert_close(found.buffers_after, expected.buffers_after, rtol=within, atol=within)
