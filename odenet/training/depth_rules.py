"""Depth rules: factors of learning rate, weight decay and ε for the parameters of flows, from h = T/L.

A flow of L pieces on the horizon T adds h·F(x; θ_i) in each, h = T/L, so the gradient with respect to a θ_i is
proportional to h. A step of SGD of size η moves θ_i by η·h, the layer's output by η·h², and x(T), over all layers, by
η·h·T: with T fixed, it vanishes as L grows. Adam moves θ_i by η whatever the size of the gradient, so x(T) by η·T. The
rules make the motion of x(T) the same for all L:

| rule | branch is multiplied by | SGD: η, λ | Adam: η, λ, ε | AdamW: η, λ, ε |
|---|---|---|---|---|
| none | anything | 1, 1 | 1, 1, 1 | 1, 1, 1 |
| 1/h | h, T fixed | 1/h, 1 | 1/h, 1, 1 | 1/h, 1, 1 |
| completep | h, T fixed | 1/h, h | 1, h, h | 1, 1, h |
| 1/sqrt(L) | 1/√L, T = √L | 1, 1 | 1/√L, 1/√L, 1/√L | 1/√L, 1, 1/√L |

- `completep` is CompleteP, α = 1 (Dey et al. 2025, arXiv 2505.01618, table 1 and equation 40, for AdamW): hidden
  weights, biases and norms have η·m^(α-1), λ and ε·m^-α, where m = 1/h is the depth relative to a net with h = 1; the
  stem and the head are not hidden. The paper has no SGD. The column for SGD is the same requirement, η·m^(2α-1)
  (Bordelon et al. 2024, arXiv 2405.15712), and λ·h, because SGD multiplies both the gradient, which is
  proportional to h, and the decay by η/h. Then a step is one of gradient descent on ℓ + λ/2·∫‖θ(t)‖²dt in the function
  θ(t), with a limit as L grows. The λ of Adam, which is added to the gradient, is multiplied by h likewise.
- `1/h` changes the learning rate alone; it is meant for SGD, and without weight decay equals `completep`. With Adam
  x(T) moves by L·η.
- `1/sqrt(L)` is Depth-μP (Yang et al. 2023, arXiv 2310.02244; Bordelon et al. 2023, arXiv 2309.16620). Their layers
  are multiplied by 1/√L, which here is the horizon T = √L, and the rule refuses other horizons. SGD needs no factor
  then, and Adam 1/√L. The limit is a stochastic differential equation and not an ODE.

In general h is the depth-time on which a node acts, ∫φ_j(t)dt: T/L for `PiecewiseConstant`, the integral of its
B-spline for `PiecewiseLinear` and `Spline`, and the length of the pieces that evaluate it for other θ (T for `Constant`
and `Galerkin`). Steps per piece do not matter. The lengths of nodes that share a parameter are added, and in nested
flows they are multiplied. A parameter that is also used outside of flows has no factors.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import nn

from odenet.blocks.block import ODEBlock
from odenet.blocks.errors import unknown_name
from odenet.blocks.multilevel import degree_of
from odenet.blocks.theta.base import LinearTheta, PiecewiseConstant, PiecewiseLinear, Theta
from odenet.blocks.theta.spline import Spline, integrals
from odenet.training.settings import DepthRule, OptimizerName


class Factors(NamedTuple):
    """Factors of the learning rate, the weight decay and Adam's ε of a parameter."""

    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0


class Place(NamedTuple):
    """Place of a parameter along depth: the depth-time h on which it acts, and the number of pieces L of its flow."""

    length: float
    pieces: int


def depth_factors(model: nn.Module, rule: DepthRule, optimizer: OptimizerName) -> dict[str, Factors]:
    """Return the factors of all parameters in flows of `model` by name; without a rule, none.

    Args:
        model: Network with ODE blocks, or an ODE block.
        rule: Name of the rule.
        optimizer: Name of the optimizer, on whose kind the factors depend.

    Raises:
        ValueError: if the rule is unknown, the model has no parameter in a flow, or the rule is 1/sqrt(L) and a flow of
            L pieces has another horizon than √L.
    """
    if rule not in RULES:
        raise unknown_name("depth_rule", rule, RULES)
    if rule == "none":
        return {}
    if rule == "1/sqrt(L)":
        _require_square_roots(model)
    places = _places(model)
    if not places:
        raise ValueError(
            f"depth_rule={rule!r} was asked for, and no parameter of this {type(model).__name__} belongs to a flow "
            "alone: the rule sets the learning rates of the branches of ODEBlocks. Use depth_rule='none', or a network "
            "of ODEBlocks."
        )
    return {name: RULES[rule](place, optimizer) for name, place in places.items()}


def node_lengths(theta: Theta) -> list[float]:
    """Return the depth-time on which each node of θ acts; the lengths of a spline's nodes add up to the horizon.

    >>> from odenet import MLPBranch
    >>> node_lengths(PiecewiseLinear([MLPBranch(2) for _ in range(3)], horizon=1.0))
    [0.25, 0.5, 0.25]
    """
    if isinstance(theta, PiecewiseConstant | PiecewiseLinear | Spline):
        n = theta.number_of_pieces
        return [float(integral) * theta.horizon / n for integral in integrals(degree_of(theta), n)]
    lengths: dict[int, float] = defaultdict(float)
    if isinstance(theta, LinearTheta):
        for index, (start, end) in enumerate(theta.intervals()):
            for j in theta.nodes_of_piece(index):
                lengths[id(theta.nodes[j])] += end - start
    else:
        for piece in theta.pieces():
            for node in piece.nodes:
                lengths[id(node)] += piece.end - piece.start
    ids = [id(node) for node in theta.nodes]
    return [lengths[one] / ids.count(one) for one in ids]


def _places(model: nn.Module) -> dict[str, Place]:
    """Return the place of each parameter that belongs to flows alone, by name."""
    nodes: dict[str, Place] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, ODEBlock):
            prefix = f"{path}.theta.nodes".removeprefix(".")
            lengths, pieces = node_lengths(module.theta), module.theta.number_of_pieces
            nodes |= {f"{prefix}.{j}": Place(length, pieces) for j, length in enumerate(lengths)}
    uses: dict[int, list[Place | None]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        uses[id(parameter)].append(_nested([nodes[path] for path in _parents(name) if path in nodes]))
    found = ((name, uses[id(parameter)]) for name, parameter in model.named_parameters())
    return {name: place for name, own in found if (place := _together(own)) is not None}


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _nested(around: list[Place]) -> Place | None:
    """Return the place in flows within each other; None outside of all flows."""
    if not around:
        return None
    return Place(math.prod(place.length for place in around), math.prod(place.pieces for place in around))


def _together(uses: list[Place | None]) -> Place | None:
    """Return the place of a parameter with several uses; None if one is outside of flows, or it acts nowhere."""
    inside = [place for place in uses if place is not None]
    length = math.fsum(place.length for place in inside)
    if len(inside) < len(uses) or length == 0:
        return None
    return Place(length, max(place.pieces for place in inside))


def _require_square_roots(model: nn.Module) -> None:
    for block in (module for module in model.modules() if isinstance(module, ODEBlock)):
        horizon, pieces = block.theta.horizon, block.theta.number_of_pieces
        if not math.isclose(horizon, math.sqrt(pieces), rel_tol=1e-6):
            raise ValueError(
                f"depth_rule='1/sqrt(L)' was asked for, and {block.label} multiplies its L = {pieces} branches by "
                f"T/L = {horizon / pieces:.4g} instead of 1/√L = {pieces**-0.5:.4g}: set theta.horizon = {pieces} ** "
                "0.5, or use '1/h' or 'completep', which are for a fixed horizon."
            )


def _none(place: Place, optimizer: OptimizerName) -> Factors:  # noqa: ARG001
    return Factors()


def _one_over_h(place: Place, optimizer: OptimizerName) -> Factors:  # noqa: ARG001
    return Factors(lr=1 / place.length)


def _completep(place: Place, optimizer: OptimizerName) -> Factors:
    h = place.length
    if optimizer in ("sgd", "nesterov"):
        return Factors(lr=1 / h, weight_decay=h)
    return Factors(weight_decay=h if optimizer == "adam" else 1.0, eps=h)


def _one_over_root(place: Place, optimizer: OptimizerName) -> Factors:
    if optimizer in ("sgd", "nesterov"):
        return Factors()
    multiplier = place.pieces**-0.5
    return Factors(multiplier, multiplier if optimizer == "adam" else 1.0, multiplier)


RULES: Mapping[str, Callable[[Place, OptimizerName], Factors]] = {
    "none": _none,
    "1/h": _one_over_h,
    "1/sqrt(L)": _one_over_root,
    "completep": _completep,
}
"""Depth rules by name."""
