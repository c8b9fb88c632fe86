"""A check that a module can be called as a branch, F(t, x)."""

from __future__ import annotations

import inspect

from torch import nn


def signature_error(branch: nn.Module) -> TypeError | None:
    """Return the error to raise if `branch.forward` does not take (t, x), or None if it does or that is unknown."""
    if branch._forward_pre_hooks:
        return None  # they may change the arguments of forward
    try:
        signature = inspect.signature(branch.forward)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(0.0, None)
    except TypeError:
        return TypeError(
            f"a {type(branch).__name__}, whose forward takes {signature}, was given as a branch; a branch is a vector "
            "field F(t, x) and is called with both: wrap a module of x alone in Autonomous(module), or give forward "
            "the arguments (t, x)."
        )
    return None
