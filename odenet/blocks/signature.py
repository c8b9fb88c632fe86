"""Checks that a module can be called as a branch, F(t, x), for a given state."""

from __future__ import annotations

import inspect
import re

from torch import Tensor, nn

_OTHER_SIZE = re.compile(
    r"shapes cannot be multiplied|to have \d+ channels|running_mean should contain|"
    r"must match the size of tensor|number of channels|normalized_shape="
)
"""Words of torch when a layer was made for another number of channels or features."""


def signature_error(branch: nn.Module, arguments: tuple[str, ...] = ("t", "x")) -> TypeError | None:
    """Return the error to raise if `branch.forward` does not take these arguments, or None if it does or may do so.

    Args:
        branch: module, called with (t, x) as a branch, or with (t, x, v) as an acceleration.
        arguments: names of the arguments.
    """
    if branch._forward_pre_hooks:
        return None  # they may change the arguments of forward
    try:
        signature = inspect.signature(branch.forward)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(0.0, *arguments[1:])
    except TypeError:
        if len(arguments) > 2:
            return TypeError(
                f"a {type(branch).__name__}, whose forward takes {signature}, was given as an acceleration "
                f"F({', '.join(arguments)}), which is called with all of them: give forward these arguments, or make "
                "HeavyBall(branch) of a branch of (t, x)."
            )
        return TypeError(
            f"a {type(branch).__name__}, whose forward takes {signature}, was given as a branch; a branch is a vector "
            "field F(t, x) and is called with both: wrap a module of x alone in Autonomous(module), or give forward "
            "the arguments (t, x)."
        )
    return None


def size_error(error: Exception, label: str, x: Tensor) -> ValueError | None:
    """Return the error to raise if a branch failed because it was made for another number of channels, or None.

    Args:
        error: error that the branch raised.
        label: name of the block in messages.
        x: state at which the branch was evaluated.
    """
    text = str(error).splitlines()
    if not isinstance(error, RuntimeError) or not text or not _OTHER_SIZE.search(text[0]):
        return None
    return ValueError(
        f"{label} was given a state of shape {tuple(x.shape)}, and a layer of its branch was made for another number "
        f"of channels ({text[0]}): make the branch for the channels of the state, with those that Augment appends."
    )
