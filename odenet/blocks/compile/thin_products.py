r"""A graph pass for torch.compile that transposes matrix products with few columns on a CPU.

    A·B = (Bᵀ·Aᵀ)ᵀ,      A of shape (m, k), B of shape (k, n), n small.

The transposes are views. A matrix library divides the result into tiles as wide as a vector register; if a row of the
result has only two entries, most of the register is empty, while the transposed product fills it. For states of a few
numbers, half the products in the gradient of an MLP are of this kind. If the rows of A and the columns of B are
contiguous, as in the forward pass of a linear layer, each entry is a scalar product of contiguous vectors, which is as
fast either way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx.experimental.symbolic_shapes import statically_known_true as known

ATEN = torch.ops.aten

THIN = range(2, 9)
"""Numbers of columns for which the transposed product is faster; with one column, both products are vectors."""
PRECISIONS = (torch.float32, torch.float64)
"""Dtypes to which the pass applies; others have different kernels."""


class TransposeThinProducts(CustomGraphPass):
    """Rewrites a graph in place; the graph computes the same numbers up to rounding."""

    def __call__(self, graph: fx.Graph) -> None:
        """Transpose the thin products of `mm` and `addmm`; the sum of an `addmm` becomes an operation of its own."""
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
        """Return the key of this pass in the cache of compiled graphs, which changes with the source of this file."""
        return get_hash_for_files((__file__,))


def _is_slow(product: fx.Node, a: Any, b: Any) -> bool:
    if any("val" not in node.meta for node in (product, *product.all_input_nodes)):  # the shapes are not known
        return False
    value, a, b = (node.meta["val"] for node in (product, a, b))
    rows, columns = value.shape
    is_thin = isinstance(columns, int) and columns in THIN and known(rows > max(THIN))
    is_scalar_product = known(a.stride(1) == 1) and known(b.stride(0) == 1)
    return value.device.type == "cpu" and value.dtype in PRECISIONS and is_thin and not is_scalar_product


def _transposed(matrix: Any) -> fx.Node:
    return _call(ATEN.permute.default, matrix, [1, 0])


def _call(operator: Any, *arguments: Any) -> fx.Node:
    """Add a node together with its shape and strides, which decide whether later products are transposed."""
    node = arguments[0].graph.call_function(operator, arguments)
    node.meta["val"] = operator(*fx.map_arg(arguments, lambda argument: argument.meta["val"]))
    return node
