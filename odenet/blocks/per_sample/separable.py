"""Fields of which each sample has its own: what error control for each sample by itself asks of a branch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from odenet.blocks.projections import TangentField
from odenet.blocks.solvers.runge_kutta import VectorField
from odenet.blocks.stochastic_depth import Scaled
from odenet.blocks.theta.base import Piece


def separable(piece: Piece, label: str) -> Piece:
    """The piece with a field that takes a t for each sample, of shape (batch, 1, …, 1).

    A θ that is interpolated between nodes is another one at every t, so there the samples are evaluated one by one as
    far as their parameters go, by `torch.func.vmap`: the memory of θ(t) times the batch.

    Args:
        piece: of θ.
        label: of the block, for messages.

    Raises:
        ValueError: a branch whose samples depend on each other, or that draws random numbers.
    """
    for node in piece.nodes:
        for name, module in node.named_modules():
            _require_separable(name or type(module).__name__, module, label)
    return piece if len(piece.nodes) < 2 else piece._replace(field=_sample_by_sample(piece.field))


def _require_separable(name: str, module: nn.Module, label: str) -> None:
    if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
        raise ValueError(
            f"per_sample=True was asked for in {label}, and {name!r} normalizes by the statistics of the batch, so a "
            "sample's slope depends on its batch-mates, which are at other times: use GroupNorm (norm=group_norm), "
            "evaluation mode, or per_sample=False."
        )
    if isinstance(module, _DropoutNd | nn.AlphaDropout) and module.training and module.p > 0:
        raise draws(label, f"{name!r} drops out")


def draws(label: str, what: str = "a branch draws") -> ValueError:
    """What to raise where a branch is another one at every evaluation."""
    return ValueError(
        f"per_sample=True was asked for in {label}, and {what} at random, so that no two evaluations agree and no "
        "error can be estimated: use dropout outside the flow, or FixedSteps."
    )


def scalar_time_error(error: Exception, label: str) -> ValueError:
    """What to raise where a branch takes a number as t, and not a tensor of one for each sample."""
    return ValueError(
        f"per_sample=True was asked for in {label}, whose branch takes one t for the whole batch, and not one of shape "
        f"(batch, 1, …, 1) ({type(error).__name__}: {error}): write it so that t broadcasts against x, or take "
        "per_sample=False."
    )


def _sample_by_sample(field: VectorField) -> VectorField:
    if isinstance(field, Scaled | TangentField):  # a factor for each sample, and a projection of the whole batch
        return field._replace(field=_sample_by_sample(field.field))

    def of_one(t: Any, x: Tensor) -> Tensor:
        return field(t, x.unsqueeze(0)).squeeze(0)

    def of_all(t: Any, x: Tensor) -> Tensor:
        return torch.func.vmap(of_one)(t.flatten().expand(len(x)), x)

    return of_all
