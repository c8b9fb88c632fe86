"""Substituted tensors take the place of captured ones, and a closed gate stops gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet.blocks.replay.substitution import Gate, cut, replaced


def test_functions_read_the_substitute_within_the_context() -> None:
    a, b = torch.ones(2), torch.full((2,), 3.0)
    layer = nn.Linear(2, 2, bias=False)

    def read() -> list[Tensor]:
        return [a + 1, torch.stack([a, a])[1], a.sum(), layer(a)]

    expected = [b + 1, b, b.sum(), layer(b)]
    with replaced({a: b}):
        found = read()
    assert all(map(torch.equal, found, expected))
    assert torch.equal(a + 1, torch.full((2,), 2.0))


def test_a_graph_made_of_cut_tensors_ends_at_them() -> None:
    leaf = torch.ones(2, requires_grad=True)
    made = leaf.exp()
    ends = cut([leaf, made])
    assert ends[leaf] is leaf
    assert ends[made].is_leaf
    assert torch.equal(ends[made], made)
    with replaced(ends):
        y = (made * leaf).sum()
    of_made, of_leaf = torch.autograd.grad(y, [ends[made], leaf])
    assert torch.equal(of_made, leaf)
    assert torch.equal(of_leaf, made), "not by way of what was made of it"


def test_a_compiled_module_runs_uncompiled_within_the_context() -> None:
    a, b = torch.ones(2), torch.full((2,), 3.0)
    compiled = torch.compile(nn.Tanh(), backend="eager", fullgraph=True)
    with replaced({a: b}):
        assert torch.equal(compiled(a), b.tanh())
    assert torch.equal(compiled(a), a.tanh())


def test_a_closed_gate_stops_a_gradient_and_an_open_one_does_not() -> None:
    leaf, gate = torch.ones(2, requires_grad=True), Gate()
    made = gate.stopping(leaf.exp())
    y = (made * leaf).sum()
    with gate:
        of_made, of_leaf = torch.autograd.grad(y, [made, leaf], retain_graph=True)
    assert torch.equal(of_leaf, made)
    assert torch.equal(of_made, leaf)
    (whole,) = torch.autograd.grad(y, [leaf])
    torch.testing.assert_close(whole, made + leaf * leaf.exp())


def test_a_tensor_without_a_gradient_passes_the_gate_unchanged() -> None:
    x = torch.ones(2)
    assert Gate().stopping(x) is x


def test_a_gate_opens_after_an_error() -> None:
    gate = Gate()
    with pytest.raises(KeyError), gate:
        raise KeyError
    assert not gate.closed
