"""Initialization along depth: how the random weights of neighbouring layers of a flow are related.

A network is built with nodes that are drawn independently, so θ(t) is as rough as noise, and the limit of many layers
with h = T/L is a stochastic differential equation or trivial, but no ODE. With nodes that are equal, or values of a
smooth θ(t), the limit is an ODE at the beginning of the training (Sander et al. 2022, *Do Residual Neural Networks
discretize Neural ODEs?*) and remains one under gradient flow (Marion et al. 2023, *Implicit regularization of deep
residual networks towards neural ODEs*, arXiv 2309.01213).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from odenet.blocks.annotations import Within
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.theta.base import Constant, PiecewiseConstant, PiecewiseLinear, Theta, require_same_tensors
from odenet.blocks.theta.galerkin import Galerkin
from odenet.blocks.theta.spline import Spline

Model = TypeVar("Model", bound=nn.Module)

AlongDepth = Literal["independent", "tied", "smooth"]

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


@checked
@torch.no_grad()
def initialize_depth(
    model: Model,
    along: AlongDepth,
    *,
    length_scale: Annotated[float, Within(0.01, math.inf)] = 0.5,
    generator: torch.Generator | None = None,
) -> Model:
    """Return a copy of a new network in which the weights of the nodes of every θ are related along depth.

    - "independent": the network as it was built, each node a draw of its own.
    - "tied": all nodes have the weights of node 0, so that θ(t) is constant. Nothing is drawn.
    - "smooth": the nodes are values of a random θ(t). Each weight is a Gaussian process over depth, a random Fourier
      series, with mean 0, the same variance at each t, and the correlation exp(-τ²/2(ℓT)²) at a distance τ. The
      variance is the mean square of the weight's tensor as it was built, over its entries and all nodes. With the same
      generator, networks of different depths have the same θ(t), up to their estimates of this variance.

    Weights are the parameters of at least two axes whose entries differ. Parameters and buffers of normalizations keep
    their values, and so do tensors of equal entries, such as zeros, under "smooth". Biases are those of node 0. The
    weights of a `Spline` are those at the Greville points, where θ(t) is close to them. In a `Galerkin` series, "tied"
    sets all coefficients but the first to 0, and "smooth" needs the basis "fourier", in which θ(t) is periodic.

    >>> from odenet import BasicBranch, ODEBlock, PiecewiseConstant
    >>> from odenet.measure import theta_roughness
    >>> _ = torch.manual_seed(0)
    >>> block = ODEBlock(PiecewiseConstant([BasicBranch(8) for _ in range(3)], horizon=1.0))
    >>> [round(r, 1) for r in theta_roughness(block.theta)]
    [1.4, 1.4]
    >>> theta_roughness(initialize_depth(block, "tied").theta)
    [0.0, 0.0]
    >>> smooth = initialize_depth(block, "smooth", length_scale=2, generator=torch.Generator().manual_seed(0))
    >>> all(roughness < 0.3 for roughness in theta_roughness(smooth.theta))
    True

    Args:
        model: an ODE block, or a network that contains some; it is not changed.
        along: relation of the weights along depth.
        length_scale: ℓ in units of the horizon T, for "smooth".
        generator: generator of the draws of "smooth"; by default torch's global one.

    Raises:
        ValueError: if the model has no ODE block, nodes differ in architecture, or θ has no smooth values at its nodes:
            a `Galerkin` of the basis "chebyshev", a θ of your own, or a module that is two nodes.
    """
    new = copy.deepcopy(model)
    thetas = [block.theta for block in new.modules() if isinstance(block, ODEBlock)]
    if not thetas:
        raise ValueError(
            f"initialize_depth was given a {type(model).__name__} without an ODEBlock: it has no weights along depth; "
            "pass a block, or a network that contains some."
        )
    if along == "independent":
        return new
    for theta in dict.fromkeys(thetas):
        require_same_tensors(theta)
        if along == "smooth":
            _require_smooth(theta)
    for theta in dict.fromkeys(thetas):
        deviations = _deviations(theta)
        _tie(theta)
        if along == "smooth" and not isinstance(theta, Constant):
            _draw(theta, deviations, length_scale, generator)
    return new


def _require_smooth(theta: Theta) -> None:
    """Raise a `ValueError` unless smooth values can be given to the nodes of θ."""
    if isinstance(theta, Galerkin) and theta.basis != "fourier" and len(theta.nodes) > 1:
        raise ValueError(
            f"initialize_depth was asked for smooth weights of a Galerkin series in the basis {theta.basis!r}, whose "
            "squares do not add up to a constant, so the variance would depend on t: use the basis 'fourier', a "
            "Spline, or 'tied'."
        )
    if not isinstance(theta, Constant | PiecewiseConstant | PiecewiseLinear | Spline | Galerkin):
        raise ValueError(
            f"initialize_depth was asked for smooth weights of a {type(theta).__name__}, and does not know at which t "
            "its nodes lie: use 'tied', or PiecewiseConstant, PiecewiseLinear, Spline or Galerkin."
        )
    if len({id(node) for node in theta.nodes}) < len(theta.nodes):
        raise ValueError(
            f"initialize_depth was asked for smooth weights of a {type(theta).__name__} in which one module is several "
            "nodes, so it cannot have the values of each: use 'tied', or a module for each node."
        )


def _kept_by_norms(node: nn.Module) -> set[str]:
    """Return the names of the tensors in normalizations."""
    norms = [(f"{path}." if path else "", norm) for path, norm in node.named_modules() if isinstance(norm, _NORMS)]
    tensors = ((prefix, name) for prefix, norm in norms for name in norm.state_dict(keep_vars=True))
    return {prefix + name for prefix, name in tensors}


def _deviations(theta: Theta) -> dict[str, Tensor]:
    """Return the root mean square of each random weight, over its entries and the nodes that are no coefficients."""
    nodes = theta.nodes[:1] if isinstance(theta, Galerkin) else theta.nodes
    kept = _kept_by_norms(theta.nodes[0])
    own = [dict(node.named_parameters()) for node in nodes]
    found = {}
    for name, weight in own[0].items():
        if weight.ndim > 1 and name not in kept and bool((weight != weight.flatten()[0]).any()):
            found[name] = torch.stack([of_node[name].square().mean() for of_node in own]).mean().sqrt()
    return found


def _tie(theta: Theta) -> None:
    """Give all nodes the parameters of node 0, except in normalizations; coefficients of a series become 0."""
    first, *others = theta.nodes
    kept = set() if isinstance(theta, Galerkin) else _kept_by_norms(first)
    values = dict(first.named_parameters())
    for node in others:
        for name, parameter in node.named_parameters():
            if isinstance(theta, Galerkin):
                parameter.zero_()
            elif name not in kept:
                parameter.copy_(values[name])
        if isinstance(theta, Galerkin):
            for buffer in (buffer for buffer in node.buffers() if buffer.is_floating_point()):
                buffer.zero_()


def _draw(
    theta: Theta, deviations: Mapping[str, Tensor], length_scale: float, generator: torch.Generator | None
) -> None:
    """Give the weights of the nodes the values of a random Fourier series, or its coefficients to a `Galerkin`."""
    rows = _coefficients(theta, length_scale)
    nodes = [dict(node.named_parameters()) for node in theta.nodes]
    for name, deviation in deviations.items():
        weights = [own[name] for own in nodes]
        for weight in weights:
            weight.zero_()
        for row in rows:  # term by term, so that only one draw is in memory
            drawn = _normal(weights[0], generator) * deviation
            for weight, factor in zip(weights, row, strict=True):
                weight.add_(drawn, alpha=factor)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw normal numbers, on the device of the generator, so that they do not depend on the device of the network."""
    device = torch.device("cpu") if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, device=device).to(like)


def _coefficients(theta: Theta, length_scale: float) -> list[list[float]]:
    """Return, for each term of the random series, its factor in each node; the squares add up to 1 in each node.

    The series of period P has the frequencies k/P and the spectrum exp(-½(2πkℓ/P)²), that of a squared exponential. The
    correlation at a distance τ is that of all distances τ + mP, and P = T + 4ℓ makes the others negligible.
    """
    if isinstance(theta, Galerkin):
        pairs = (len(theta.nodes) - 1) // 2
        spectrum = _spectrum(length_scale, 1.0, pairs)
        columns = [spectrum[0], *(part for part in spectrum[1:] for _ in range(2))]
        columns += [0.0] * (len(theta.nodes) - len(columns))  # a cosine without its sine
        return [[column if i == j else 0.0 for j in range(len(columns))] for i, column in enumerate(columns)]
    period = 1 + 4 * length_scale
    spectrum = _spectrum(length_scale, period, math.ceil(period / length_scale))
    times = _times(theta)
    rows = [[spectrum[0] for _ in times]]
    for k, amplitude in enumerate(spectrum[1:], 1):
        functions: Sequence[Callable[[float], float]] = (math.cos, math.sin)
        rows += [[amplitude * wave(2 * math.pi * k * s / period) for s in times] for wave in functions]
    return rows


def _spectrum(length_scale: float, period: float, terms: int) -> list[float]:
    """Return the amplitudes of the constant and of `terms` pairs of cosine and sine; the squares add up to 1."""
    energies = [math.exp(-0.5 * (2 * math.pi * k * length_scale / period) ** 2) for k in range(terms + 1)]
    energies[1:] = [2 * energy for energy in energies[1:]]
    total = math.fsum(energies)
    return [math.sqrt(energy / total) for energy in energies]


def _times(theta: Theta) -> list[float]:
    """Return s = t/T of each node: the Greville points of a spline, for degree 0 the middles of the pieces."""
    degree = theta.degree if isinstance(theta, Spline) else 0 if isinstance(theta, PiecewiseConstant) else 1
    n = theta.number_of_pieces
    if degree == 0:
        return [(index + 0.5) / n for index in range(n)]
    knots = [[min(max(j - degree + i, 0), n) for i in range(1, degree + 1)] for j in range(n + degree)]
    return [sum(own) / (degree * n) for own in knots]
