"""A pass over the graphs that torch.compile makes: columns that are joined and taken apart again cancel.

    cat((a, b), 1)[:, 1] = b[:, 0],      φ(cat((a, b), 1))[:, 1:2] = φ(b),      for a, b of shape (batch, 1)

and φ that acts on every entry by itself; likewise for what `unbind`, `split` and `chunk` yield, and backwards for
what puts a column into zeros. A field such as `stack((v, -x), -1)` of the columns x, v of its argument is then a
function of columns alone, and becomes one loop with all that is around it, without a state in memory. Inductor itself
writes every `cat` to memory and reads its parts back from there.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

from odenet.blocks import columns as narrow

ATEN = torch.ops.aten

Columns: TypeAlias = list[fx.Node]
"""The columns of a matrix, each of shape (batch, 1)."""


class CancelColumns(CustomGraphPass):
    """Rewrites a graph in place; what it computes is the same, bit for bit."""

    def __call__(self, graph: fx.Graph) -> None:
        """Follow what is made of columns, and replace what takes columns out of it."""
        known: dict[fx.Node, Columns] = {}
        for node in [node for node in graph.nodes if node.op == "call_function"]:
            matrix = node.args[0] if node.args else None
            if isinstance(matrix, fx.Node) and matrix in known:
                _cancel(node, known[matrix])
            with graph.inserting_after(node):
                if _is_narrow(node) and (found := _joined(node) or _put(node) or _mapped(node, known)):
                    known[node] = found
        for node, columns in known.items():
            if node.target is not ATEN.cat.default:  # whoever wants all of it is to have it from the columns
                node.replace_all_uses_with(_call(max(columns), ATEN.cat.default, columns, 1))
        graph.eliminate_dead_code()

    def uuid(self) -> Any:
        """Under which compiled graphs are cached: another text of this file is another pass."""
        return get_hash_for_files((__file__, str(narrow.__file__)))


def _joined(node: fx.Node) -> Columns | None:
    """The parts of a `cat` of columns."""
    if node.target is not ATEN.cat.default or _axis(node, 1) != 1:
        return None
    parts: Any = node.args[0]
    return list(parts) if all(_shape(part)[1:] == (1,) and _dtype(part) == _dtype(node) for part in parts) else None


def _put(node: fx.Node) -> Columns | None:
    """The columns of a constant matrix into which one was put, as the derivative of taking it out does."""
    if node.target not in (ATEN.select_scatter.default, ATEN.slice_scatter.default) or _axis(node, 2) != 1:
        return None
    base, column = _nodes(node)
    flat, (batch, entries) = node.target is ATEN.select_scatter.default, _shape(node)
    if base.target is not ATEN.full.default or not (flat or _shape(column)[1:] == (1,)) or not isinstance(batch, int):
        return None
    constant = _call(node, ATEN.full.default, [batch, 1], base.args[1], **base.kwargs)
    found = [constant] * entries
    found[_number(node, 3)] = _call(constant, ATEN.unsqueeze.default, column, 1) if flat else column
    return found


def _mapped(node: fx.Node, known: dict[fx.Node, Columns]) -> Columns | None:
    """Column by column, what acts on every entry by itself."""
    operands = _nodes(node)
    if torch.Tag.pointwise not in getattr(node.target, "tags", ()) or not any(each in known for each in operands):
        return None
    if not all(each in known or _shape(each) in ((), (1,)) or _shape(each)[1:] == (1,) for each in operands):
        return None
    found = []
    for k in range(_shape(node)[1]):
        arguments = fx.map_arg(node.args, lambda each, k=k: known[each][k] if each in known else each)
        found.append(_call(found[-1] if found else node, node.target, *arguments, **node.kwargs))
    return found


def _cancel(user: fx.Node, columns: Columns) -> None:
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


def _call(after: fx.Node, target: Any, *arguments: Any, **options: Any) -> fx.Node:
    """A new node behind another, with the tensor that it stands for."""
    with after.graph.inserting_after(after):
        node = after.graph.call_function(target, arguments, options)
    node.meta["val"] = target(*fx.map_arg(arguments, lambda each: each.meta["val"]), **options)
    return node


def _is_narrow(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.dim() != 2 or not isinstance(value.shape[1], int):
        return False
    return 1 < value.shape[1] <= narrow.NARROW


def _nodes(node: fx.Node) -> list[fx.Node]:
    """The arguments of a node that are nodes."""
    return [each for each in node.args if isinstance(each, fx.Node)]


def _axis(node: fx.Node, position: int) -> int:
    """The axis of a matrix that a node works on, its argument at `position`."""
    return _number(node, position) % 2


def _number(node: fx.Node, position: int) -> int:
    number: Any = node.args[position] if position < len(node.args) else 0
    return number or 0


def _dtype(node: fx.Node) -> torch.dtype:
    return node.meta["val"].dtype


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta["val"]
    return tuple(value.shape) if isinstance(value, torch.Tensor) else (-1,)
