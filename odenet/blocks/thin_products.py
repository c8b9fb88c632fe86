r"""A pass over the graphs that torch.compile makes: matrix products of few columns are taken transposed, on a CPU.

    A·B = (Bᵀ·Aᵀ)ᵀ,      A of shape (m, k), B of shape (k, n), n small.

The transposes are views. A library of matrix products cuts the result into tiles of as many entries of a row as a
register holds; where a row has two, most of the register is empty, and transposed it is full. On states of a few
numbers half the products of an MLP's gradient are of this kind. Where rows of A and columns of B are contiguous, as in
a linear layer forwards, an entry of the result is a scalar product of vectors, which is as fast either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx.experimental.symbolic_shapes import statically_known_true as known

ATEN = torch.ops.aten

FEW = range(2, 9)
"""Columns for which it is faster; of one, the result is a vector, and so is its transpose."""
PRECISIONS = (torch.float32, torch.float64)
"""Others have products of their own."""


class TransposeThinProducts(CustomGraphPass):
    """Rewrites a graph in place; what it computes is the same to rounding."""

    def __call__(self, graph: fx.Graph) -> None:
        """Transpose the thin `mm`s; of an `addmm` the product likewise, the sum being left to the loops around it."""
        for node in graph.find_nodes(op="call_function", target=ATEN.mm.default):
            if _is_slow(node, *node.args):
                _replace(node, lambda node: _transposed_product(node.graph, *node.args))
        for node in graph.find_nodes(op="call_function", target=ATEN.addmm.default):
            if _is_slow(node, *node.args[1:]) and set(node.kwargs.values()) <= {1}:
                _replace(node, _added_product)

    def uuid(self) -> Any:
        """Under which compiled graphs are cached: another text of this file is another pass."""
        return get_hash_for_files((__file__,))


def _is_slow(product: fx.Node, a: Any, b: Any) -> bool:
    value, a, b = (node.meta.get("val") for node in (product, a, b))
    if value is None or a is None or b is None:  # from a pass that does not say what it adds
        return False
    rows, columns = value.shape
    is_thin = isinstance(columns, int) and columns in FEW and known(rows > max(FEW))
    of_scalar_products = known(a.stride(1) == 1) and known(b.stride(0) == 1)
    return value.device.type == "cpu" and value.dtype in PRECISIONS and is_thin and not of_scalar_products


def _replace(node: fx.Node, by: Callable[[fx.Node], fx.Node]) -> None:
    with node.graph.inserting_before(node):
        node.replace_all_uses_with(by(node))
    node.graph.erase_node(node)


def _transposed_product(graph: fx.Graph, a: Any, b: Any) -> fx.Node:
    return _transposed(graph, _call(graph, ATEN.mm.default, _transposed(graph, b), _transposed(graph, a)))


def _added_product(node: fx.Node) -> fx.Node:
    added, *factors = node.args
    return _call(node.graph, ATEN.add.Tensor, _transposed_product(node.graph, *factors), added)


def _transposed(graph: fx.Graph, matrix: Any) -> fx.Node:
    return _call(graph, ATEN.permute.default, matrix, [1, 0])


def _call(graph: fx.Graph, operator: Any, *arguments: Any) -> fx.Node:
    """A node with its shape and strides, which the products that follow it are judged by."""
    node = graph.call_function(operator, arguments)
    node.meta["val"] = operator(*fx.map_arg(arguments, lambda argument: argument.meta["val"]))
    return node
