"""The ends of an autograd graph: the leaves and edges at which a walk from its outputs comes to an end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn, TypeAlias

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

Edge: TypeAlias = tuple[Node, int]
"""Where a tensor leaves its graph: the operation that made it, and which of its outputs it is."""


def inputs_of_graph(outputs: Iterable[Tensor], start: int, besides: set[int]) -> tuple[list[Tensor], list[Edge]]:
    """The leaves of a graph, and the edges by which operations from before `start` enter it.

    Args:
        outputs: of the graph.
        start: torch's number of the first operation that belongs to it; numbers grow along a thread's tape.
        besides: identities of leaves that are left out.
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
    """The tensors at which the graphs of a backward pass may end: their gradients are asked for, or not wanted.

    Args:
        tensors: parameters and captured tensors.
        label: what messages call the block.
    """

    def __init__(self, tensors: Iterable[Tensor], label: str) -> None:
        tensors = list(tensors)
        self.label = label
        self._leaves = {id(tensor) for tensor in tensors}
        self._edges = {(t.grad_fn, t.output_nr) for t in tensors if t.grad_fn is not None}
        self._nodes: set[Node] = set()
        """The ends of graphs in which these leaves were met: so the next walk need not look at them again."""

    def require(self, ends: Iterable[GradientEdge | None], inputs: Iterable[Tensor]) -> None:
        """Raise a `RuntimeError` where a graph ends elsewhere.

        Args:
            ends: the outputs of the graph.
            inputs: tensors that were made for it.
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
                leaf = getattr(node, "variable", None)  # the other operations without inputs are no leaves
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
            f"the branch of {self.label} reads a tensor that it did not read where it was first evaluated: its graph "
            f"leads to one of shape {tuple(leaf.shape)} whose gradient would be lost. Let the branch read the same "
            "tensors at every t and in every pass, or use Backprop()."
        )
