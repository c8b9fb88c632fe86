"""Stochastic depth in whole residual networks: who survives with which probability (Huang et al. 2016, section 3)."""

from __future__ import annotations

from typing import Literal

from torch import nn

from odenet.blocks.annotations import Number
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.errors import unknown_name
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.stochastic_depth import StochasticDepth, linear_decay
from odenet.models.plain import Substitution
from odenet.models.resnet import Transition


@checked
def set_stochastic_depth(
    model: nn.Module,
    last: Number = 0.5,
    *,
    decay: Literal["linear", "constant"] = "linear",
    per: Literal["batch", "sample"] = "batch",
    scaling: Literal["training", "evaluation"] = "training",
) -> None:
    """Let block l of L survive with p_l = 1 - (l/L)·(1 - last), transitions included (Huang et al. 2016, section 3).

    Either every block and transition changes or, where something is refused, none does.

    Args:
        model: a residual network; its blocks and transitions get their `noise`.
        last: p_L in (0, 1]; 0.5 in the paper, 1 for none.
        decay: "linear", as above, or "constant": p_l = last for all l (the paper's uniform rule, the worse one there).
        per: one B for the whole batch, whose skipped branches cost nothing, or one for each sample.
        scaling: as in `StochasticDepth`.

    Raises:
        ValueError: `last` outside (0, 1]; an unknown name; a plain net, in which nothing would be left of x where the
            branch is skipped; a network without residual blocks.
    """
    if decay not in ("linear", "constant"):
        raise unknown_name("decay", decay, ("linear", "constant"))
    parts = [module for module in model.modules() if isinstance(module, ODEBlock | Transition)]
    if not parts:
        raise ValueError(
            f"stochastic depth was asked for in a {type(model).__name__}, which has neither an ODEBlock nor a "
            "Transition to skip: use a residual network."
        )
    if any(map(_is_plain, parts)):
        raise ValueError(
            "stochastic depth was asked for in a plain net; without the identity a skipped branch leaves nothing of x: "
            "use a residual network."
        )
    sizes = [part.theta.number_of_pieces if isinstance(part, ODEBlock) else 1 for part in parts]
    survival = linear_decay(sum(sizes), last) if decay == "linear" else [last] * sum(sizes)
    before = 0
    for part, size in zip(parts, sizes, strict=True):
        part.noise = StochasticDepth(survival[before : before + size], per=per, scaling=scaling)
        before += size


def _is_plain(part: ODEBlock | Transition) -> bool:
    if isinstance(part, Transition):
        return part.shortcut is None
    return isinstance(part.stepping, FixedSteps) and isinstance(part.stepping.solver, Substitution)
