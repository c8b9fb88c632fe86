"""A pass over the graphs that torch.compile makes: columns that are joined and taken apart again cancel.

    cat((a, b), 1)[:, 1] = b[:, 0],      cat((a, b), 1)[:, 1:2] = b,      for a, b of shape (batch, 1),

and likewise for what `unbind`, `split` and `chunk` yield. A field such as `stack((v, -x), -1)` of the columns x, v of
its argument is then a function of columns alone, and becomes one loop with all that is around it, without a state in
memory. Inductor itself writes every `cat` to memory and reads its parts back from there; and a `cat` is nothing that it
computes twice, so the pass comes before the graph is cut into a forward and a backward pass, for which states would be
kept otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

ATEN = torch.ops.aten


class CancelColumns(CustomGraphPass):
    """Rewrites a graph in place; what it computes is the same, bit for bit."""

    def __call__(self, graph: fx.Graph) -> None:
        """Cancel every `cat` of columns against those of its users that take columns out of it."""
        for node in graph.find_nodes(op="call_function", target=ATEN.cat.default):
            if columns := _columns(node):
                for user in list(node.users):
                    _cancel(user, node, columns)
        graph.eliminate_dead_code()

    def uuid(self) -> Any:
        """Under which compiled graphs are cached: another text of this file is another pass."""
        return get_hash_for_files((__file__,))


def _columns(cat: fx.Node) -> list[fx.Node] | None:
    """The parts of a matrix that is made of columns."""
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
    """Put `column`, without its axis of length 1, in the place of `node`."""
    if column.target is ATEN.unsqueeze.default:
        flat = column.all_input_nodes[0]
    else:
        with node.graph.inserting_before(node):
            flat = node.graph.call_function(ATEN.squeeze.dim, (column, 1))
        flat.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(flat)


def _axis(node: fx.Node, position: int) -> int:
    """The axis of a matrix that a node works on, its argument at `position`."""
    return _number(node, position) % 2


def _number(node: fx.Node, position: int) -> int:
    number: Any = node.args[position] if position < len(node.args) else 0
    return number or 0


def _dtype(node: fx.Node) -> torch.dtype:
    return node.meta["val"].dtype


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
