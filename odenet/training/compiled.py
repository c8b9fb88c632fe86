"""Compilation of networks by torch.compile, once for all networks of the same structure."""

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

MAX_STRUCTURES = 16
"""Maximal number of structures whose kernels a process keeps; the least recently used is dropped first."""

MIN_EVALUATIONS = 16
"""Number of evaluations of branches from which a network is compiled by branches on CUDA; as a whole takes minutes."""

MAX_GRAPHS = 4
"""Maximal number of graphs of a training: two modes (training and evaluation) times two batch sizes (full and last)."""

Call: TypeAlias = Callable[[nn.Module, Any], Any]

_CALLS: OrderedDict[str, tuple[Call, Call]] = OrderedDict()
"""Function that calls the networks of a structure, and its compiled form, by the structure."""


@contextmanager
def compiled(model: nn.Module, device: torch.device, *, whole: bool = True) -> Iterator[nn.Module]:
    """Yield a compiled network with the weights and modes of `model`, to be called in its place.

    Networks with the same `repr` share their kernels, so that a network is not compiled again for another seed. On CUDA
    a deep network is compiled in chunks of one or two branches, which serve a whole stage; stem and transitions are not
    compiled. So it is on every device with `whole=False`, for a network whose program depends on its inputs, such as a
    detector.
    """
    if not whole or (device.type == "cuda" and _can_be_compiled_by_branches(model)):
        with configure(model, compile=True):
            yield model
    else:
        yield _Compiled(model)


class _Compiled(nn.Module):
    """Network whose forward pass is called through torch.compile."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training
        self._call = _shared_call(network)

    def forward(self, x: Any) -> Any:
        """Return the output of the network."""
        return self._call(self.network, x)


def _shared_call(network: nn.Module) -> Call:
    """Return the compiled call that all networks of this structure share.

    torch stores graphs by the code object of a function, at most eight for each; further calls run uncompiled. So each
    structure gets a code object of its own, and a new one if the graphs of another training would not fit. Resetting
    all caches of torch instead would compile everything else in the process again.
    """
    structure = f"{type(network).__module__} {network}"
    function, call = _CALLS.pop(structure, (None, None))
    if function is None or call is None or _number_of_graphs(function) > MAX_GRAPHS:
        function = with_own_code(_call)
        # With dynamic=False a smaller last batch gets a graph of its own, instead of one slower graph for both sizes.
        call = torch.compile(function, dynamic=False, backend=BACKEND)
    _CALLS[structure] = function, call
    while len(_CALLS) > MAX_STRUCTURES:
        _CALLS.popitem(last=False)
    return call


def _number_of_graphs(function: Any) -> int:
    """Return the number of graphs that torch stores for a function; MAX_GRAPHS + 1 if this version cannot tell."""
    try:
        from torch._dynamo.eval_frame import _debug_get_cache_entry_list
    except ImportError:
        return MAX_GRAPHS + 1
    return len(_debug_get_cache_entry_list(function.__code__))


def _call(network: nn.Module, x: Any) -> Any:
    return network(x)


def _can_be_compiled_by_branches(model: nn.Module) -> bool:
    """Whether the network is deep, and each of its blocks has a flow that the block can compile by itself."""
    blocks = [module for module in model.modules() if isinstance(module, ODEBlock)]
    steppings = [block.stepping for block in blocks if block.noise is None and isinstance(block.gradient, Backprop)]
    fixed = [stepping for stepping in steppings if isinstance(stepping, FixedSteps)]
    if not blocks or len(fixed) < len(blocks):
        return False
    evaluations = sum(block.theta.number_of_pieces * step.per_piece for block, step in zip(blocks, fixed, strict=True))
    return evaluations >= MIN_EVALUATIONS


def _inductor_or_eager(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    """Compile a graph by inductor; if that fails, warn and return it uncompiled (a backend of torch.compile)."""
    from torch._dynamo import lookup_backend  # imported on demand, because it takes seconds

    try:
        return lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # any failure is tolerable, because the graph runs uncompiled too
        warnings.warn(
            f"compile = True was asked for; torch.compile failed with {type(error).__name__} ({first_line(error)}), so "
            "the network runs uncompiled: install what the error names, or set compile = False.",
            CompileWarning,
            stacklevel=2,
        )
        return graph.forward


BACKEND: str | Callable[..., Any] = _inductor_or_eager
"""Backend of torch.compile for networks that are not compiled yet."""
