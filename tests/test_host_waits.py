"""The instrument sees each way in which a host waits, and none where it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.host_waits import HostWaits

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x + 1),
        lambda x: x.long().clamp(min=0).bincount(),
        lambda x: x.unique(),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: torch.ones(2).to(x.device),
        lambda x: torch.ones(2).to(x),
        lambda x: torch.autograd.grad(Looking.apply(x.requires_grad_()).sum(), x),
    ],
)
def test_each_wait_is_seen(wait: Callable[[Tensor], object]) -> None:
    x = torch.arange(-2.0, 2.0)
    with HostWaits() as seen:
        wait(x)
    assert len(seen.waits) >= 1


class Looking(torch.autograd.Function):
    """Reads its gradient back."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:  # noqa: ARG004
        return 2 * x

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        gradients[0].tolist()
        return gradients[0]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x + torch.full((), 2.0, device=x.device),
        lambda x: torch.ones(2).to(x.device, non_blocking=True).sum(),
        lambda _: torch.rand(3, device="cpu").tolist(),
        lambda _: (torch.rand(3, generator=torch.Generator()) + 1).tolist(),
        lambda x: x.where(x > 0, 0),
        lambda _: torch.equal(torch.get_rng_state(), torch.get_rng_state()),
        lambda x: x[torch.zeros(2, dtype=torch.int64, device=x.device)],
    ],
)
def test_where_nothing_waits_nothing_is_seen(work: Callable[[Tensor], object]) -> None:
    x = torch.arange(-2.0, 2.0)
    with HostWaits() as seen:
        work(x)
    assert seen.waits == []


def test_operations_are_counted_but_for_views_and_those_of_the_host() -> None:
    x = torch.arange(4.0)
    with HostWaits() as seen:
        (x.view(2, 2).t() + 1).exp()
        torch.rand(3).add(1)
    assert seen.launched == {"add": 1, "exp": 1}


def test_methods_are_as_before_afterwards() -> None:
    before = torch.Tensor.tolist
    with HostWaits():
        assert torch.Tensor.tolist is not before
    assert torch.Tensor.tolist is before
