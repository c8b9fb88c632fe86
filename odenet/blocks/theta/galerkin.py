"""θ(t) as a Fourier or Chebyshev series over depth, with modules as coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside, MayBeEmpty
from odenet.blocks.arguments import checked
from odenet.blocks.errors import unknown_name
from odenet.blocks.theta.base import LinearTheta, Time, require_same_tensors

Basis: TypeAlias = Callable[[Time, int], Sequence[Time]]
"""Function (s, n) ↦ values of the first n basis functions at s = t/T in [0, 1]."""


class Galerkin(LinearTheta):
    """θ(t) = Σ_j φ_j(t/T)·θ_j for a basis φ of smooth functions: one piece, on which θ has all derivatives.

    Every evaluation of the branch combines all n nodes. As φ_0 = 1, node 0 is an ordinary branch; the other nodes are
    changes over depth and are best initialized to zero, as `project_theta(Constant(branch), Galerkin, n)` does. A
    series suits a θ that is smooth over depth. Near a jump it oscillates (the Gibbs phenomenon), and a variance may
    become negative: use a `Spline` there. In training mode BatchNorm is refused unless n = 1, as in every `LinearTheta`
    that combines nodes.

    >>> from odenet import FixedSteps, Galerkin, MLPBranch, ODEBlock, RK4
    >>> theta = Galerkin([MLPBranch(2) for _ in range(5)], basis="fourier")
    >>> ODEBlock(theta, FixedSteps(RK4(), per_piece=8))(torch.zeros(3, 2)).shape
    torch.Size([3, 2])

    Args:
        nodes: coefficients of the series, branches of the same architecture.
        basis: "chebyshev" for the polynomials φ_j(s) = T_j(2s - 1) of degree j, or "fourier" for 1, cos 2πs, sin 2πs,
            cos 4πs, sin 4πs, …, which are periodic, so that θ(0) = θ(T).
        horizon: T in units of depth-time, 1 by default.

    Raises:
        ValueError: if the basis is unknown, there are no nodes, or their parameters differ in name, shape or dtype.

    Source: Massaroli et al. 2020, *Dissecting Neural ODEs*, section 4.1 ("Galerkin neural ODEs").
    """

    is_convex = False

    @checked
    def __init__(
        self,
        nodes: Annotated[Iterable[Annotated[nn.Module, Inside()]], MayBeEmpty()],
        basis: str = "chebyshev",
        horizon: Annotated[float | None, Inside()] = None,
    ) -> None:
        if basis not in BASES:
            raise unknown_name("basis", basis, BASES)
        super().__init__(nodes, horizon)
        require_same_tensors(self)
        self.basis = basis

    @property
    def number_of_pieces(self) -> int:
        """Number of pieces, always 1."""
        return 1

    def nodes_of_piece(self, index: int) -> range:  # noqa: ARG002
        """Return the indices of all nodes."""
        return range(len(self.nodes))

    def weights(self, index: int, start: float, end: float, t: Time) -> Sequence[Time]:  # noqa: ARG002
        """Return φ_j(t/T) for all nodes."""
        return BASES[self.basis](t / self.horizon, len(self.nodes))

    def extra_repr(self) -> str:
        """Return the basis and the horizon as text, for `print(theta)`."""
        return f"basis={self.basis!r}, {super().extra_repr()}"


def _chebyshev(s: Time, n: int) -> Sequence[Time]:
    """Return T_0, …, T_{n-1} at z = 2s - 1, by the recursion T_{j+1} = 2z·T_j - T_{j-1}."""
    z = 2 * s - 1
    values: list[Time] = [1.0, z]
    while len(values) < n:
        values.append(2 * z * values[-1] - values[-2])
    return values[:n]


def _fourier(s: Time, n: int) -> Sequence[Time]:
    library: Any = torch if isinstance(s, Tensor) else math
    values: list[Time] = [1.0]
    for k in range(1, n // 2 + 1):
        values += [library.cos(2 * math.pi * k * s), library.sin(2 * math.pi * k * s)]
    return values[:n]


BASES: Mapping[str, Basis] = {"chebyshev": _chebyshev, "fourier": _fourier}
"""Basis functions by the name of the basis."""
