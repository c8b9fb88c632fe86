"""Recomputation finds the buffers of the forward pass, and leaves the present ones unchanged."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import spectral_norm as old_spectral_norm

from odenet import RK4, Autonomous, Backprop, Checkpointed, FixedSteps, ODEBlock, PiecewiseConstant, Reversible
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.replay.buffers import Buffers
from odenet.blocks.replay.replay import Replay, frozen_buffers
from odenet.blocks.theta.combination import is_standard_norm


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.get_buffer("count").add_(1)
        return x + self.get_buffer("count")


def test_an_evaluation_with_earlier_buffers_leaves_the_present_ones_unchanged() -> None:
    module = Counter()
    buffers = Buffers([module])
    found = []
    for _ in range(3):
        buffers.record()
        found.append(module(torch.zeros(2)))
    buffers.record()
    assert buffers.changed
    own = module.get_buffer("count")
    with buffers.rewound():
        for snapshot in (2, 0, 1):
            buffers.restore(snapshot)
            assert torch.equal(module(torch.zeros(2)), found[snapshot])
    assert module.get_buffer("count") is own
    assert torch.equal(own, torch.full((2,), 3.0))


def test_snapshots_without_a_change_share_their_values() -> None:
    buffers = Buffers([Counter()])
    buffers.record()
    buffers.record()
    assert not buffers.changed
    buffers.clear()
    buffers.record()
    assert not buffers.changed


def test_a_change_through_data_or_by_assignment_is_detected() -> None:
    for change in (lambda m: m.count.data.add_(1), lambda m: setattr(m, "count", torch.ones(2))):
        module = Counter()
        buffers = Buffers([module])
        buffers.record()
        change(module)
        buffers.record()
        assert buffers.changed
        assert buffers.describe_change() == "'count' of a Counter"


def test_buffers_changed_between_the_passes_have_their_former_values_in_the_backward_pass() -> None:
    module = Counter()
    buffers = Buffers([module])
    buffers.record()
    module(torch.zeros(2))
    with buffers.rewound():
        assert torch.equal(module.get_buffer("count"), torch.zeros(2))
    assert torch.equal(module.get_buffer("count"), torch.ones(2))


def test_standard_normalizations_are_not_recorded_but_their_subclasses_are() -> None:
    class Renorm(nn.BatchNorm2d):
        pass

    assert is_standard_norm(nn.BatchNorm2d(2))
    assert is_standard_norm(nn.InstanceNorm1d(2, track_running_stats=True))
    assert not is_standard_norm(Renorm(2))
    assert not is_standard_norm(nn.GroupNorm(1, 2))


def test_measuring_a_module_leaves_its_buffers_unchanged() -> None:
    module = nn.Sequential(Counter(), nn.BatchNorm1d(2))
    before = copy.deepcopy(dict(module.named_buffers()))
    with frozen_buffers(module):
        module(torch.randn(3, 2))
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())


def observed() -> nn.Module:
    """Return a layer after a moving-average observer, as in quantization-aware training."""
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), Observer())


class Observer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        low, high = x.detach().min(), x.detach().max()
        self.low = 0.9 * self.low + 0.1 * low
        self.high = 0.9 * self.high + 0.1 * high
        return torch.tanh((x - self.low) / (self.high - self.low + 1))


@pytest.mark.parametrize(
    "branch",
    [
        observed,
        lambda: nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(4, 4, 3, padding=1)), nn.Tanh()),
        lambda: nn.Sequential(old_spectral_norm(nn.Conv2d(4, 4, 3, padding=1)), nn.Tanh()),
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1)), nn.Tanh()),
    ],
    ids=["observer", "spectral_norm", "old spectral_norm", "weight_norm"],
)
@pytest.mark.parametrize("gradient", [Checkpointed(), Checkpointed(memory=2**20), Reversible()], ids=repr)
def test_modules_of_torch_with_state_have_backpropagations_gradient_and_buffers(
    branch: object, gradient: GradientMethod
) -> None:
    def run(gradient: GradientMethod) -> tuple[list[Tensor], list[Tensor]]:
        torch.manual_seed(0)
        nodes = [Autonomous(branch()).double() for _ in range(2)]  # pyright: ignore[reportCallIssue]
        block = ODEBlock(PiecewiseConstant(nodes, horizon=0.5), FixedSteps("rk4", 2), gradient)
        if isinstance(gradient, Backprop) and coupled is not None:
            block.stepping = coupled
        block(torch.randn(2, 4, 5, 5, dtype=torch.float64)).square().sum().backward()
        return [p.grad for p in block.parameters() if p.grad is not None], [b.clone() for b in block.buffers()]

    from odenet import Coupled

    coupled = FixedSteps(Coupled(RK4()), 2) if isinstance(gradient, Reversible) else None
    for ours, exact in zip(run(gradient), run(Backprop()), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)


def test_a_replay_has_the_modes_of_the_forward_pass_and_restores_the_present_ones() -> None:
    layer = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    replay = Replay([layer], "cpu")
    replay.buffers.record()
    layer.eval()
    with replay.again():
        assert layer.training
        assert layer[0].training
    assert not layer.training
    assert not layer[0].training


def test_statistics_that_the_forward_pass_read_and_that_changed_since_are_refused() -> None:
    norm = nn.BatchNorm2d(4)
    node = Autonomous(norm.eval())
    block = ODEBlock(PiecewiseConstant([node]), gradient=Checkpointed())
    x = torch.randn(2, 4, 5, 5)
    y = block(x).sum()
    norm.train()(x)
    with pytest.raises(RuntimeError, match=r"running statistics that a normalization in evaluation mode reads were"):
        y.backward()


def test_recomputed_steps_with_another_result_are_refused() -> None:
    class Drifting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(2, 2), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.layer(x) * self.calls

    block = ODEBlock(PiecewiseConstant([Autonomous(Drifting())]), FixedSteps("euler", 4), Checkpointed(4))
    y = block(torch.randn(3, 2)).sum()
    with pytest.raises(RuntimeError, match=r"the state after them differs .*a branch does not repeat its results"):
        y.backward()
