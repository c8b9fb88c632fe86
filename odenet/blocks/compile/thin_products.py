r"""A pass over the graphs that torch.compile makes: matrix products of few columns are taken transposed, on a CPU.

    A·B = (Bᵀ·Aᵀ)ᵀ,      A of shape (m, k), B of shape (k, n), n small.

The transposes are views. A library of matrix products cuts the result into tiles of as many entries of a row as a
register holds; where a row has two, most of the register is empty, and transposed it is full. On states of a few
numbers half the products of an MLP's gradient are of this kind. Where rows of A and columns of B are contiguous, as in
a linear layer forwards, an entry of the result is a scalar product of vectors, which is as fast either way.
"""

from __future__ import annotations

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
        for target in (ATEN.mm.default, ATEN.addmm.default):
            for node in graph.find_nodes(op="call_function", target=target):
                *added, a, b = node.args
                if not _is_slow(node, a, b) or not set(node.kwargs.values()) <= {1}:
                    continue
                with graph.inserting_before(node):
                    result = _transposed(_call(ATEN.mm.default, _transposed(b), _transposed(a)))
                    for term in added:
                        result = _call(ATEN.add.Tensor, result, term)
                node.replace_all_uses_with(result)
                graph.erase_node(node)

    def uuid(self) -> Any:
        """Under which compiled graphs are cached: another text of this file is another pass."""
        return get_hash_for_files((__file__,))


def _is_slow(product: fx.Node, a: Any, b: Any) -> bool:
    if any("val" not in node.meta for node in (product, *product.all_input_nodes)):  # of a pass that tells no shapes
        return False
    value, a, b = (node.meta["val"] for node in (product, a, b))
    rows, columns = value.shape
    is_thin = isinstance(columns, int) and columns in FEW and known(rows > max(FEW))
    of_scalar_products = known(a.stride(1) == 1) and known(b.stride(0) == 1)
    return value.device.type == "cpu" and value.dtype in PRECISIONS and is_thin and not of_scalar_products


def _transposed(matrix: Any) -> fx.Node:
    return _call(ATEN.permute.default, matrix, [1, 0])


def _call(operator: Any, *arguments: Any) -> fx.Node:
    """A node with its shape and strides, which the products that follow it are judged by."""
    node = arguments[0].graph.call_function(operator, arguments)
    node.meta["val"] = operator(*fx.map_arg(arguments, lambda argument: argument.meta["val"]))
    return node
