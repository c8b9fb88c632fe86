"""Stochastic depth in whole residual networks: survival probabilities of all blocks (Huang et al. 2016, section 3)."""

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
    """Let block l of L survive with p_l = 1 - (l/L)·(1 - last), counting transitions (Huang et al. 2016, section 3).

    If an argument is refused, no block or transition is changed.

    Args:
        model: residual network; the `noise` of its blocks and transitions is set.
        last: survival probability p_L of the last block, in (0, 1]; 0.5 in the paper, 1 for no stochastic depth.
        decay: "linear" for the formula above, or "constant" for p_l = last at all l (the uniform rule, which the paper
            finds to be worse).
        per: "batch" to draw once for the whole batch, so that skipped branches cost nothing, or "sample" to draw for
            each sample.
        scaling: mode in which branches are scaled, as in `StochasticDepth`.

    Raises:
        ValueError: if `last` is outside (0, 1], if a name is unknown, if the network is plain (where a branch is
            skipped, nothing would be left of x), or if it has no residual blocks.
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
