"""The pass removes concatenations of columns that are taken apart again, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx
from torch.autograd.graph import saved_tensors_hooks
from torch.fx.experimental.proxy_tensor import make_fx

from odenet.blocks.compile.cancel_columns import CancelColumns
from odenet.blocks.compile.programs import Programs


def rewritten(function: Callable[..., object], *inputs: Tensor) -> fx.GraphModule:
    """Return the graph that the pass makes of a function of tensors, after checking that it computes the same."""
    module = make_fx(function, tracing_mode="fake")(*inputs)
    CancelColumns()(module.graph)
    module.graph.lint()
    module.recompile()
    torch.testing.assert_close(module(*inputs), function(*inputs), rtol=0, atol=0)
    return module


def joins(module: fx.GraphModule) -> int:
    return len(module.graph.find_nodes(op="call_function", target=torch.ops.aten.cat.default))


def pair() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 1), torch.randn(5, 1)


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x.unbind(-1),
        lambda x: x.unbind(1),
        lambda x: (x[:, 0], x[..., 1], x[:, -1]),
        lambda x: (x[:, :1], x[..., 1:], x[:, -1:], x[:, 0:1]),
        lambda x: x.split(1, 1),
        lambda x: x.chunk(2, -1),
    ],
    ids=["unbind", "unbind 1", "select", "slice", "split", "chunk"],
)
def test_columns_that_are_taken_out_of_a_cat_are_not_concatenated(take: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    assert joins(rewritten(lambda a, b: [2 * each for each in take(torch.cat((a, b), -1))], *pair())) == 0


def test_a_field_that_stacks_the_columns_it_unbinds_works_on_columns_only() -> None:
    def step(a: Tensor, b: Tensor) -> list[Tensor]:
        x, v = torch.cat((a, b), 1).unbind(-1)
        slope = torch.stack((v, (1 - x * x) * v - x), dim=-1)
        return [each + change for each, change in zip((a, b), slope.split(1, 1), strict=True)]

    assert joins(rewritten(step, *pair())) == 0


def test_columns_and_not_states_are_saved_for_the_backward_pass() -> None:
    def steps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(3):
            x, v = torch.cat((a, b), 1).unbind(-1)
            change = torch.stack((v, (1 - x * x) * v - x), dim=-1).split(1, 1)
            a, b = a + change[0], b + change[1]
        return a, b

    handed: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        handed.append(tensor)
        return tensor

    a, b = (column.requires_grad_() for column in pair())
    with saved_tensors_hooks(note, lambda tensor: tensor):
        ends = Programs().compiled("steps", steps, "steps")(a, b)
    assert handed
    assert all(tensor.numel() == len(a) for tensor in handed)
    found = torch.autograd.grad(ends[0].sum(), (a, b))
    torch.testing.assert_close(found, torch.autograd.grad(steps(a, b)[0].sum(), (a, b)))


def test_a_cat_with_other_uses_stays() -> None:
    assert (
        joins(rewritten(lambda a, b: (torch.cat((a, b), 1)[:, 0], torch.cat((a, b), 1) @ torch.ones(2, 2)), *pair()))
        == 1
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: torch.cat((a, b), 0).unbind(0),
        lambda a, b: torch.cat((a, b), 1)[0],
        lambda a, b: torch.cat((a, b), 1)[:2],
        lambda a, b: torch.cat((a, b), 1).split(1, 0),
        lambda a, b: torch.cat((a, b), 1).split(2, 1),
        lambda a, b: torch.cat((a, b, a, b), 1)[:, ::2],
        lambda a, b: torch.cat((torch.cat((a, b), 1), a), 1).unbind(1),
        lambda a, b: torch.cat((a, b.double()), 1).unbind(1),
        lambda a, b: torch.cat((a[None], b[None]), 2).unbind(2),
    ],
    ids=["rows", "a row", "two rows", "split rows", "split twos", "strided", "wide", "other dtype", "three axes"],
)
def test_other_parts_of_a_cat_are_left_unchanged(function: Callable[..., object]) -> None:
    assert joins(rewritten(function, *pair())) >= 1


def test_the_cache_key_of_the_pass_depends_on_its_source() -> None:
    assert CancelColumns().uuid() == CancelColumns().uuid()
    assert CancelColumns().uuid() is not None
