"""Separable fields: error control per sample needs branches whose samples do not depend on each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from odenet.blocks.costs import AugmentedField
from odenet.blocks.projections import TangentField
from odenet.blocks.solvers.runge_kutta import VectorField
from odenet.blocks.stochastic_depth import Scaled
from odenet.blocks.theta.base import Piece


def separable(piece: Piece, label: str) -> Piece:
    """Return the piece with a field that takes a t of shape (batch, 1, …, 1), one for each sample.

    If θ is interpolated between nodes, every sample has its own parameters θ(t), and the branch is evaluated under
    `torch.func.vmap`; this takes the memory of θ(t) times the batch size. So it is if a normalization has statistics
    that depend on t.

    Args:
        piece: piece of θ.
        label: name of the block in messages.

    Raises:
        ValueError: if the samples of a branch depend on each other, or the branch draws random numbers.
    """
    for node in piece.nodes:
        for name, module in node.named_modules():
            _require_separable(name or type(module).__name__, module, label)
    by_sample = len(piece.nodes) > 1 or piece.takes_one_time
    return piece._replace(field=_sample_by_sample(piece.field)) if by_sample else piece


def _require_separable(name: str, module: nn.Module, label: str) -> None:
    if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
        raise ValueError(
            f"per_sample=True was asked for in {label}, but {name!r} normalizes by the statistics of the batch, so "
            "the slope of a sample depends on other samples, which are at other times: use GroupNorm "
            "(norm=group_norm), evaluation mode, or per_sample=False."
        )
    if isinstance(module, _DropoutNd | nn.AlphaDropout) and module.training and module.p > 0:
        raise random_numbers_error(label, f"{name!r} drops out")


def random_numbers_error(label: str, what: str = "a branch draws") -> ValueError:
    """Return the error to raise if a branch draws random numbers at every evaluation."""
    return ValueError(
        f"per_sample=True was asked for in {label}, but {what} at random, so that no two evaluations agree and no "
        "error can be estimated: use dropout outside the flow, or FixedSteps."
    )


def scalar_time_error(error: Exception, label: str) -> ValueError:
    """Return the error to raise if a branch cannot take a tensor t with one entry for each sample."""
    return ValueError(
        f"per_sample=True was asked for in {label}, whose branch takes one t for the whole batch, and not a tensor of "
        f"shape (batch, 1, …, 1) ({type(error).__name__}: {error}): write it so that t broadcasts against x, or use "
        "per_sample=False."
    )


def _sample_by_sample(field: VectorField) -> VectorField:
    if isinstance(field, Scaled | TangentField | AugmentedField):  # their tensors are those of the whole batch
        return field._replace(field=_sample_by_sample(field.field))

    def one_sample(t: Any, x: Tensor) -> Tensor:
        return field(t, x.unsqueeze(0)).squeeze(0)

    def all_samples(t: Any, x: Tensor) -> Tensor:
        return torch.func.vmap(one_sample)(t.flatten().expand(len(x)), x)

    return all_samples
