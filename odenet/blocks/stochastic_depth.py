"""Noise on the steps: stochastic depth, a random model x′ = (B/p)·F(x; θ(t)) with B ~ Bernoulli(p(t)) on every piece.

B is drawn once for a piece of θ in a forward pass, not once for a step, and for all pieces before any is evaluated: the
random model is then the same function of t whatever solver, steps or gradient method it is given, whatever else its
branches draw, and a gradient method that evaluates a branch a second time meets the same B. Where B = 0 for the whole
batch, nothing moves: the branch is not evaluated and no step is taken (Huang et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from odenet.blocks.annotations import Inside, Whole
from odenet.blocks.arguments import checked
from odenet.blocks.errors import unknown_name
from odenet.blocks.theta.base import Piece, Time

VectorField: TypeAlias = Callable[[Time, Tensor], Tensor]


class Scaled(NamedTuple):
    """(t, x) ↦ factor·field(t, x); the factor is one number, or one for each sample, of shape (batch, 1, …)."""

    factor: float | Tensor
    field: VectorField

    def __call__(self, t: Time, x: Tensor) -> Tensor:
        """The scaled slope."""
        return self.factor * self.field(t, x)


class StochasticDepth:
    """A piece survives with probability p and then has its branch divided by p, so that the mean over B is F.

    Args:
        survival: p of each piece, in (0, 1]; one number serves all pieces.
        per: "batch": one B for all samples, as in Huang et al.; a skipped branch costs nothing. "sample": one B for
            each (timm, torchvision); the branch is evaluated for all. Under DDP, a branch that a batch skips leaves
            parameters without a gradient: give DDP find_unused_parameters=True and let all processes draw alike, as
            `odenet.training.fit` does.
        scaling: "training": B·F/p in training, F in evaluation (timm, torchvision). "evaluation": B·F in training, p·F
            in evaluation (Huang et al. 2016, equation 5). The means agree; with "evaluation" the weights are trained at
            the scale of the surviving branch.

    Raises:
        ValueError: a probability outside (0, 1], no probability, or an unknown name.

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
        """Raise a `ValueError` unless there is one probability, or one for each of `number_of_pieces`."""
        if len(self.survival) not in (1, number_of_pieces):
            raise ValueError(
                f"{len(self.survival)} survival probabilities were given for {number_of_pieces} pieces of θ; give one "
                "for each, or one for all."
            )

    @checked
    def on_pieces(self, number: int) -> StochasticDepth:
        """The same probabilities over depth-time, on `number` pieces of a θ(t) that was refined or coarsened."""
        old = len(self.survival)
        survival = self.survival if old == 1 else [self.survival[k * old // number] for k in range(number)]
        return StochasticDepth(survival, per=self.per, scaling=self.scaling)

    def __call__(self, pieces: Iterable[Piece], x: Tensor, *, training: bool) -> list[Piece]:
        """The pieces of one random model, drawn for a batch x; in evaluation mode those of its mean.

        A piece that does not survive is left out: a step of x′ = 0 and a projection of what is projected already change
        nothing. The first piece stays, with F = 0 and no nodes, so that a projection meets x all the same.
        """
        pieces = list(pieces)
        self.check(len(pieces))
        survival = self.survival * len(pieces) if len(self.survival) == 1 else self.survival
        first, *others = map(_scaled, pieces, self._factors(survival, x, training))
        return [first, *(piece for piece in others if piece.nodes)]

    def _factors(self, survival: Sequence[float], x: Tensor, training: bool) -> Sequence[float | Tensor]:
        """B/p, or B, of each piece: a number for the batch, or a tensor of shape (batch, 1, …)."""
        if not training:
            return survival if self.scaling == "evaluation" else [1.0] * len(survival)
        sizes = [1.0 / p if self.scaling == "training" else 1.0 for p in survival]
        if self.per == "batch":
            # On the host, so that nothing waits for the device to learn whether to evaluate the branch.
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
    """p_l = 1 - (l/L)·(1 - p_L) for l = first, …, first + pieces - 1 of L blocks (Huang et al. 2016, equation 4).

    >>> linear_decay(4, 0.5)
    [0.875, 0.75, 0.625, 0.5]

    Args:
        pieces: how many.
        last: p_L in (0, 1], of the last block of the network.
        first: l of the first one; counts from 1.
        total: L; by default the last of these is the last of the network.

    Raises:
        ValueError: a probability outside (0, 1], or blocks that are not among 1, …, L.
    """
    _require_probabilities("last", last, [last])
    total = first + pieces - 1 if total is None else total
    if pieces < 1 or first < 1 or total < first + pieces - 1:
        raise ValueError(
            f"pieces = {pieces!r}, first = {first!r}, total = {total!r}; the blocks first, …, first + pieces - 1 are "
            "some of 1, …, total: pass positive whole numbers with first + pieces - 1 ≤ total."
        )
    return [1 - (first + k) / total * (1 - last) for k in range(pieces)]


def _require_probabilities(name: str, given: object, values: Sequence[Any]) -> None:
    if not values or not all(map(_is_probability, values)):
        raise ValueError(
            f"{name} = {given!r}; each piece survives with a probability in (0, 1]: a piece that never does would be "
            "no part of the network. Pass such numbers, or leave the piece out."
        )


def _is_probability(p: Any) -> bool:
    number: Any = p if isinstance(p, Real) and not isinstance(p, bool) else 0
    return bool(0 < number <= 1)


def _scaled(piece: Piece, factor: float | Tensor) -> Piece:
    if isinstance(factor, Tensor) or factor not in (0.0, 1.0):
        return piece._replace(field=Scaled(factor, piece.field))
    return piece if factor else piece._replace(field=_nothing, nodes=())


def _nothing(t: Time, x: Tensor) -> Tensor:  # noqa: ARG001
    return 0 * x  # and not zeros: the adjoint equation asks for a derivative
