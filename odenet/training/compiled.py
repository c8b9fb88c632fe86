"""Compiled networks: forward passes that torch.compile makes kernels for, once for all networks of one structure."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

from odenet.blocks.block import ODEBlock
from odenet.blocks.compile.programs import CompileWarning, first_line, with_own_code
from odenet.blocks.configuration import configure
from odenet.blocks.gradients.base import Backprop
from odenet.blocks.stepping.fixed import FixedSteps

KEPT = 16
"""Structures whose kernels a process keeps; those of the one that was used longest ago are let go first."""

DEEP = 16
"""Evaluations of branches from which on a network is compiled branch by branch on CUDA: as a whole it takes minutes."""

GRAPHS = 4
"""Most graphs that a training needs: in training and in evaluation, each for whole batches and a smaller last one."""

Call: TypeAlias = Callable[[nn.Module, Any], Any]

_CALLS: OrderedDict[str, tuple[Call, Call]] = OrderedDict()
"""What calls the networks of a structure, by the structure: the function, and its compiled form."""


@contextmanager
def compiled(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Give a network to be called in the place of `model`, which has its weights and modes, and runs compiled.

    Networks that print alike share their kernels, so the second of a few seeds is not compiled again. On CUDA a deep
    network is compiled in chunks of one or two branches, which serve a whole stage; stem and transitions stay as they
    are.
    """
    if device.type == "cuda" and _can_be_compiled_by_branches(model):
        with configure(model, compile=True):
            yield model
    else:
        yield _Compiled(model)


class _Compiled(nn.Module):
    """The network, called by way of torch.compile."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training
        self._call = _call_of(network)

    def forward(self, x: Any) -> Any:
        """What the network returns."""
        return self._call(self.network, x)


def _call_of(network: nn.Module) -> Call:
    """Return the compiled call that networks of this structure share.

    torch keeps graphs by the code object of a function, at most eight for each, and beyond that goes on uncompiled. So
    a structure has a code object of its own, and another one where a training more would not find room. To empty all
    caches of torch instead would compile everything else in the process again.
    """
    structure = f"{type(network).__module__} {network}"
    function, call = _CALLS.pop(structure, (None, None))
    if function is None or call is None or _graphs_of(function) > GRAPHS:
        function = with_own_code(_call)
        # dynamic=False: the last batch, if smaller, gets a graph of its own, and no slower one is made for both sizes.
        call = torch.compile(function, dynamic=False, backend=BACKEND)
    _CALLS[structure] = function, call
    while len(_CALLS) > KEPT:
        _CALLS.popitem(last=False)
    return call


def _graphs_of(function: Any) -> int:
    """Return how many graphs torch keeps for a function; many where this version of torch does not say."""
    try:
        from torch._dynamo.eval_frame import _debug_get_cache_entry_list
    except ImportError:
        return GRAPHS + 1
    return len(_debug_get_cache_entry_list(function.__code__))


def _call(network: nn.Module, x: Any) -> Any:
    return network(x)


def _can_be_compiled_by_branches(model: nn.Module) -> bool:
    """Whether the network is deep, and each of its flows is one that a block compiles by itself."""
    blocks = [module for module in model.modules() if isinstance(module, ODEBlock)]
    steppings = [block.stepping for block in blocks if block.noise is None and isinstance(block.gradient, Backprop)]
    fixed = [stepping for stepping in steppings if isinstance(stepping, FixedSteps)]
    if not blocks or len(fixed) < len(blocks):
        return False
    return sum(block.theta.number_of_pieces * step.per_piece for block, step in zip(blocks, fixed, strict=True)) >= DEEP


def _inductor_or_eager(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    """A backend of torch.compile: machine code for a graph, or the graph as it is where that cannot be made."""
    from torch._dynamo import lookup_backend  # on demand, for it takes seconds to import

    try:
        return lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # whatever it is, the graph can be run without
        warnings.warn(
            f"compile = True was asked for; torch.compile failed with {type(error).__name__} ({first_line(error)}), so "
            "the network runs uncompiled: install what is named, or set compile = False.",
            CompileWarning,
            stacklevel=2,
        )
        return graph.forward


BACKEND: str | Callable[..., Any] = _inductor_or_eager
"""torch.compile's backend of networks that are yet to be compiled."""
