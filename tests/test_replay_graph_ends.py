"""The inputs of an autograd graph are found, and unknown ones are refused."""

from __future__ import annotations

import pytest
import torch
from torch._C._autograd import _get_sequence_nr

from odenet.blocks.gradients.recomputation import gradient_edges
from odenet.blocks.replay.graph_ends import KnownEnds, inputs_of_graph


def leaf(*shape: int) -> torch.Tensor:
    return torch.ones(shape, requires_grad=True)


def test_the_inputs_of_a_graph_are_its_leaves_and_results_of_earlier_operations() -> None:
    a, b, c = leaf(2), leaf(2), leaf(2)
    before = (a * b).sin()
    start = _get_sequence_nr()
    y = (before + c) * c
    leaves, edges = inputs_of_graph([y], start, set())
    assert [id(tensor) for tensor in leaves] == [id(c)]
    assert edges == [(before.grad_fn, before.output_nr)]


def test_excluded_leaves_are_left_out_and_others_found_once() -> None:
    a, b = leaf(2), leaf(2)
    start = _get_sequence_nr()
    leaves, edges = inputs_of_graph([a * b + b, b.sin()], start, {id(a)})
    assert [id(tensor) for tensor in leaves] == [id(b)]
    assert edges == []


def test_outputs_of_one_operation_are_distinguished() -> None:
    first, second = (leaf(4) * 1).split(2)
    start = _get_sequence_nr()
    _, edges = inputs_of_graph([second.sin()], start, set())
    assert edges == [(second.grad_fn, 1)]
    KnownEnds([second], "a block").require(gradient_edges([second.sin()]), [])
    with pytest.raises(RuntimeError, match=r"the branch of a block reads a tensor .* a tensor of shape \(4,\)"):
        KnownEnds([first], "a block").require(gradient_edges([second.sin()]), [])


def test_a_graph_with_an_unknown_leaf_is_refused() -> None:
    a, b, q = leaf(2), leaf(3), leaf()
    known = KnownEnds([a], "a block")
    known.require(gradient_edges([(a * q).sum()]), [q])
    known.require(gradient_edges([torch.ones(2)]), [])
    with pytest.raises(RuntimeError, match=r"a tensor of shape \(3,\) whose gradient would be lost"):
        known.require(gradient_edges([(a * q).sum() + b.sum()]), [q])


def test_inputs_may_have_graphs_of_their_own() -> None:
    a = leaf(2)
    made = a.exp()
    KnownEnds([], "a block").require(gradient_edges([made.sin()]), [made])
