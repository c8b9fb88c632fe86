"""A graph pass for torch.compile that removes a concatenation of columns which are then taken apart again.

    cat((a, b), 1)[:, 1] = b[:, 0],      cat((a, b), 1)[:, 1:2] = b,      for a, b of shape (batch, 1),

and the same for the results of `unbind`, `split` and `chunk`. A field such as `stack((v, -x), -1)` of the columns x, v
of its argument then becomes a function of columns alone, which inductor can fuse with the operations around it into one
loop, without a state in memory. Without the pass, inductor writes every `cat` to memory and reads its parts back. The
pass runs before the graph is partitioned into a forward and a backward pass, because inductor does not recompute a
`cat` and would save it for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

ATEN = torch.ops.aten


class CancelColumns(CustomGraphPass):
    """Rewrites a graph in place; the graph computes the same numbers, bit for bit."""

    def __call__(self, graph: fx.Graph) -> None:
        """Replace every operation that takes a column out of a `cat` of columns by the column itself."""
        for node in graph.find_nodes(op="call_function", target=ATEN.cat.default):
            if columns := _columns(node):
                for user in list(node.users):
                    _cancel(user, node, columns)
        graph.eliminate_dead_code()

    def uuid(self) -> Any:
        """Return the key of this pass in the cache of compiled graphs, which changes with the source of this file."""
        return get_hash_for_files((__file__,))


def _columns(cat: fx.Node) -> list[fx.Node] | None:
    """Return the columns that a `cat` joins, or None if it joins anything else."""
    parts: Any = cat.args[0]
    if len(_shape(cat)) != 2 or _axis(cat, 1) != 1:
        return None
    return list(parts) if all(_shape(part)[1:] == (1,) and _dtype(part) == _dtype(cat) for part in parts) else None


def _cancel(user: fx.Node, cat: fx.Node, columns: list[fx.Node]) -> None:
    if user.args[0] is not cat:
        return
    if user.target is ATEN.select.int and _axis(user, 1) == 1:
        _replace_flat(user, columns[_number(user, 2)])
    elif user.target is ATEN.slice.Tensor and _axis(user, 1) == 1 and _shape(user)[1:] == (1,):
        user.replace_all_uses_with(columns[_number(user, 2)])
    elif user.target is ATEN.unbind.int and _axis(user, 1) == 1:
        for item in list(user.users):
            _replace_flat(item, columns[_number(item, 1)])
    elif user.target is ATEN.split.Tensor and _axis(user, 2) == 1 and _number(user, 1) == 1:
        for item in list(user.users):
            item.replace_all_uses_with(columns[_number(item, 1)])


def _replace_flat(node: fx.Node, column: fx.Node) -> None:
    """Replace `node` by `column` without its axis of length 1."""
    if column.target is ATEN.unsqueeze.default:
        flat = column.all_input_nodes[0]
    else:
        with node.graph.inserting_before(node):
            flat = node.graph.call_function(ATEN.squeeze.dim, (column, 1))
        flat.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(flat)


def _axis(node: fx.Node, position: int) -> int:
    """Return the axis, 0 or 1, that is the argument of a node at `position`."""
    return _number(node, position) % 2


def _number(node: fx.Node, position: int) -> int:
    number: Any = node.args[position] if position < len(node.args) else 0
    return number or 0


def _dtype(node: fx.Node) -> torch.dtype:
    return node.meta["val"].dtype


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
