"""Stochastic depth in whole residual networks: who survives with which probability (Huang et al. 2016, section 3)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from odenet.blocks.block import ODEBlock
from odenet.blocks.stochastic_depth import StochasticDepth, linear_decay
from odenet.models.resnet import Transition


def set_stochastic_depth(
    model: nn.Module,
    last: float = 0.5,
    *,
    per: Literal["batch", "sample"] = "batch",
    scaling: Literal["training", "evaluation"] = "training",
) -> None:
    """Let block l of L survive with p_l = 1 - (l/L)·(1 - last), transitions included (Huang et al. 2016, section 3).

    Args:
        model: a residual network; its blocks and transitions get their `noise`.
        last: p_L in (0, 1]; 0.5 in the paper, 1 for none.
        per: one B for the whole batch, whose skipped branches cost nothing, or one for each sample.
        scaling: as in `StochasticDepth`.

    Raises:
        ValueError: a plain net, in which nothing would be left of x where the branch is skipped.
    """
    parts = [module for module in model.modules() if isinstance(module, ODEBlock | Transition)]
    if any(isinstance(part, Transition) and part.shortcut is None for part in parts):
        raise ValueError(
            "stochastic depth was asked for in a plain net; without the identity a skipped branch leaves nothing of x: "
            "use a residual network."
        )
    sizes = [part.theta.number_of_pieces if isinstance(part, ODEBlock) else 1 for part in parts]
    before = 0
    for part, size in zip(parts, sizes, strict=True):
        survival = linear_decay(size, last, first=before + 1, total=sum(sizes))
        part.noise = StochasticDepth(survival, per=per, scaling=scaling)
        before += size
