"""The inputs of an autograd graph: the leaves and edges at which a traversal from its outputs ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn, TypeAlias

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

Edge: TypeAlias = tuple[Node, int]
"""A non-leaf tensor in its graph: the operation that made it, and the index of the output that it is."""


def inputs_of_graph(outputs: Iterable[Tensor], start: int, besides: set[int]) -> tuple[list[Tensor], list[Edge]]:
    """Return the leaves of a graph, and the edges through which it reads results of operations before `start`.

    Args:
        outputs: outputs of the graph.
        start: autograd's sequence number of the first operation of the graph; the numbers grow within a thread.
        besides: `id`s of leaves to leave out.
    """
    stack = [y.grad_fn for y in outputs if y.grad_fn is not None]
    seen, leaves, edges = set(stack), list[Tensor](), dict[Edge, None]()
    while stack:
        for node, index in stack.pop().next_functions:
            if node is None:
                continue
            if not node.next_functions and (leaf := getattr(node, "variable", None)) is not None:
                if node not in seen and id(leaf) not in besides:
                    leaves.append(leaf)
            elif node._sequence_nr() < start:
                edges[node, index] = None
                continue
            elif node not in seen:
                stack.append(node)
            seen.add(node)
    return leaves, list(edges)


class KnownEnds:
    """The known inputs of the graphs of a backward pass: tensors whose gradient is computed, or is not wanted.

    Args:
        tensors: parameters and captured tensors.
        label: name of the block in messages.
    """

    def __init__(self, tensors: Iterable[Tensor], label: str) -> None:
        tensors = list(tensors)
        self.label = label
        self._leaves = {id(tensor) for tensor in tensors}
        self._edges = {(t.grad_fn, t.output_nr) for t in tensors if t.grad_fn is not None}
        self._nodes: set[Node] = set()
        """Autograd nodes of these leaves in graphs traversed before, which need not be checked again."""

    def require(self, ends: Iterable[GradientEdge | None], inputs: Iterable[Tensor]) -> None:
        """Raise a `RuntimeError` if a graph reads any other leaf that requires a gradient.

        Args:
            ends: edges of the outputs of the graph.
            inputs: tensors that were made as inputs of this graph.
        """
        leaves, edges, known = self._leaves, self._edges, self._nodes
        for tensor in inputs:
            if tensor.is_leaf:
                leaves = leaves | {id(tensor)}
            else:
                edges = edges | {(tensor.grad_fn, tensor.output_nr)}
        stack = [end.node for end in ends if end is not None]
        seen = set(stack)
        while stack:
            node = stack.pop()
            following = node.next_functions
            if not following:
                leaf = getattr(node, "variable", None)  # other operations without inputs are not leaves
                if leaf is not None and id(leaf) not in leaves:
                    self._raise(leaf)
                if id(leaf) in self._leaves:
                    known.add(node)
                continue
            for edge in following:
                operation = edge[0]
                if operation is None or operation in known or operation in seen or (edges and edge in edges):
                    continue
                seen.add(operation)
                stack.append(operation)

    def _raise(self, leaf: Tensor) -> NoReturn:
        raise RuntimeError(
            f"the branch of {self.label} reads a tensor that it did not read at its first evaluation: its graph leads "
            f"to a tensor of shape {tuple(leaf.shape)} whose gradient would be lost. Let the branch read the same "
            "tensors at every t and in every pass, or use Backprop()."
        )
