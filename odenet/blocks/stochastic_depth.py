"""Noise on the steps: stochastic depth, a random model x′ = (B/p)·F(x; θ(t)) with B ~ Bernoulli(p(t)) on every piece.

In a forward pass, B is drawn once for each piece of θ and not for each step, for all pieces before the first one is
evaluated. So the random model is the same function of t under every solver, number of steps and gradient method and
whatever else its branches draw, and a gradient method that evaluates a branch a second time uses the same B. If B = 0
for the whole batch, the state does not move: the branch is not evaluated and no step is taken (Huang et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, Whole
from odenet.blocks.arguments import as_float, checked
from odenet.blocks.errors import unknown_name
from odenet.blocks.theta.base import Piece, Time

VectorField: TypeAlias = Callable[[Time, Tensor], Tensor]


class Scaled(NamedTuple):
    """(t, x) ↦ factor·field(t, x), a scaled field; the factor is a number, or a tensor of shape (batch, 1, …)."""

    factor: float | Tensor
    field: VectorField

    def __call__(self, t: Time, x: Tensor) -> Tensor:
        """Evaluate the scaled field."""
        return self.factor * self.field(t, x)


class StochasticDepth:
    """Stochastic depth: each piece survives with probability p, and its branch is divided by p so that the mean is F.

    Args:
        survival: probability p of each piece, in (0, 1]; a single number applies to all pieces.
        per: "batch" draws one B for all samples, as in Huang et al., and a skipped branch costs nothing; "sample" draws
            one B for each sample (timm, torchvision), and the branch is evaluated for all of them. Under DDP, a branch
            that is skipped leaves its parameters without a gradient: pass find_unused_parameters=True to DDP and let
            all processes draw the same B, as `odenet.training.fit` does.
        scaling: "training" uses B·F/p in training and F in evaluation (timm, torchvision); "evaluation" uses B·F in
            training and p·F in evaluation (Huang et al. 2016, equation 5). The means agree; with "evaluation" the
            weights are trained at the scale of the surviving branch.

    Raises:
        ValueError: if a probability lies outside (0, 1], there is none, or a name is unknown.

    >>> StochasticDepth([1.0, 0.75, 0.5])
    StochasticDepth([1.0, 0.75, 0.5], per='batch', scaling='training')
    """

    @checked
    def __init__(
        self,
        survival: Annotated[float | Sequence[float], Inside()],
        *,
        per: Literal["batch", "sample"] = "batch",
        scaling: Literal["training", "evaluation"] = "training",
    ) -> None:
        self.survival = list(survival) if isinstance(survival, Sequence) else [survival]
        _require_probabilities("survival", survival, self.survival)
        for kind, name, known in (("per", per, ("batch", "sample")), ("scaling", scaling, ("training", "evaluation"))):
            if name not in known:
                raise unknown_name(kind, name, known)
        self.per: Literal["batch", "sample"] = per
        self.scaling: Literal["training", "evaluation"] = scaling

    def check(self, number_of_pieces: int) -> None:
        """Raise a `ValueError` unless there is one probability, or one for each of `number_of_pieces` pieces."""
        if len(self.survival) not in (1, number_of_pieces):
            raise ValueError(
                f"{len(self.survival)} survival probabilities were given for {number_of_pieces} pieces of θ; pass one "
                "for each piece, or one for all."
            )

    @checked
    def on_pieces(self, number: int) -> StochasticDepth:
        """Return the same probabilities over depth-time for a refined or coarsened θ(t) of `number` pieces."""
        old = len(self.survival)
        survival = self.survival if old == 1 else [self.survival[k * old // number] for k in range(number)]
        return StochasticDepth(survival, per=self.per, scaling=self.scaling)

    def __call__(self, pieces: Iterable[Piece], x: Tensor, *, training: bool) -> list[Piece]:
        """Return the pieces of a random model drawn for a batch x or, in evaluation mode, of the mean model.

        A piece that does not survive is left out, because x′ = 0 changes nothing and a second projection neither. The
        first piece is kept with F = 0 and no nodes, so that x is projected at least once.
        """
        pieces = list(pieces)
        self.check(len(pieces))
        survival = self.survival * len(pieces) if len(self.survival) == 1 else self.survival
        first, *others = map(_scale_piece, pieces, self._factors(survival, x, training))
        return [first, *(piece for piece in others if piece.nodes)]

    def _factors(self, survival: Sequence[float], x: Tensor, training: bool) -> Sequence[float | Tensor]:
        """Return the factor B/p or B of each piece: a number for the batch, or a tensor of shape (batch, 1, …)."""
        if not training:
            return survival if self.scaling == "evaluation" else [1.0] * len(survival)
        sizes = [1.0 / p if self.scaling == "training" else 1.0 for p in survival]
        if self.per == "batch":
            # On the CPU, so that the decision whether to evaluate a branch does not wait for the device.
            draws = torch.rand(len(survival), device="cpu").tolist()
            return [size if u < p else 0.0 for u, p, size in zip(draws, survival, sizes, strict=True)]
        draws = torch.rand(len(survival), len(x), *[1] * (x.dim() - 1), device=x.device)
        return [(u < p).to(x.dtype) * size for u, p, size in zip(draws, survival, sizes, strict=True)]

    def __repr__(self) -> str:
        return f"StochasticDepth({self.survival}, per={self.per!r}, scaling={self.scaling!r})"


@checked
def linear_decay(
    pieces: Whole, last: Annotated[float, Inside()] = 0.5, *, first: Whole = 1, total: Whole | None = None
) -> list[float]:
    """Return p_l = 1 - (l/L)·(1 - p_L) for the blocks l = first, …, first + pieces - 1 of L (Huang et al. 2016, eq. 4).

    >>> linear_decay(4, 0.5)
    [0.875, 0.75, 0.625, 0.5]

    Args:
        pieces: number of probabilities.
        last: survival probability p_L of the last block of the network, in (0, 1].
        first: index l of the first block, counted from 1.
        total: number L of blocks in the network; by default first + pieces - 1.

    Raises:
        ValueError: if a probability lies outside (0, 1], or the blocks are not among 1, …, L.
    """
    _require_probabilities("last", last, [last])
    total = first + pieces - 1 if total is None else total
    if pieces < 1 or first < 1 or total < first + pieces - 1:
        raise ValueError(
            f"pieces = {pieces!r}, first = {first!r}, total = {total!r}; the blocks first, …, first + pieces - 1 must "
            "lie in 1, …, total: pass positive whole numbers with first + pieces - 1 ≤ total."
        )
    return [1 - (first + k) / total * (1 - last) for k in range(pieces)]


def _require_probabilities(name: str, given: object, values: Sequence[Any]) -> None:
    if not values or not all(0 < (as_float(p) or 0) <= 1 for p in values):
        raise ValueError(
            f"{name} = {given!r}; survival probabilities must lie in (0, 1], because a piece that never survives is "
            "no part of the network: pass such numbers, or leave the piece out."
        )


def _scale_piece(piece: Piece, factor: float | Tensor) -> Piece:
    if isinstance(factor, Tensor) or factor not in (0.0, 1.0):
        return piece._replace(field=Scaled(factor, piece.field))
    return piece if factor else piece._replace(field=_zero_field, nodes=())


def _zero_field(t: Time, x: Tensor) -> Tensor:  # noqa: ARG001
    return 0 * x  # not zeros_like, because the adjoint equation needs a derivative in x
