"""Evaluating a branch a second time, in a backward pass, exactly as the first time.

A gradient method that recomputes would update BatchNorm's running statistics twice, and would compute in another
precision than the forward pass, because autocast does not reach a backward pass. `Replay` prevents both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class Replay:
    """Remembers the autocast state of the forward pass; `with replay(nodes):` evaluates as then, statistics at rest.

    Args:
        device_type: of the state, e.g. "cuda".
    """

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.autocast = torch.is_autocast_enabled(device_type)
        self.dtype = torch.get_autocast_dtype(device_type)

    @contextmanager
    def __call__(self, nodes: Iterable[nn.Module]) -> Iterator[None]:
        """Within it, modules below `nodes` normalize as in the forward pass and leave their statistics alone."""
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(self.device_type, dtype=self.dtype, enabled=self.autocast))
            for node in nodes:
                stack.enter_context(resting_statistics(node))
            yield


@contextmanager
def resting_statistics(node: nn.Module) -> Iterator[None]:
    """Within it, training-mode normalizations below `node` use the batch and do not update running statistics."""
    tracking = [m for m in node.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
