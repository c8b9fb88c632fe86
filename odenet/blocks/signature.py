"""Whether a module can be called as a branch, F(t, x)."""

from __future__ import annotations

import inspect

from torch import nn


def refusal_of_times(branch: nn.Module) -> TypeError | None:
    """What to raise where `branch.forward` does not take (t, x); None where it does, or where that is not known."""
    if branch._forward_pre_hooks:
        return None  # they may change what forward is given
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
