"""Stochastic depth: its mean is the deterministic model, a skipped branch is not computed, θ alone is random."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    Midpoint,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    StochasticDepth,
    linear_decay,
    refine_steps,
    refine_theta,
)


def linear_block(pieces: int = 3, **options: Any) -> ODEBlock:
    torch.manual_seed(0)
    branches = [Autonomous(nn.Linear(2, 2, bias=False, dtype=torch.float64)) for _ in range(pieces)]
    return ODEBlock(PiecewiseConstant(branches), **options)


def with_draws(block: ODEBlock, x: Tensor, draws: Iterator[float], monkeypatch) -> Tensor:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(next(draws)))
    try:
        return block(x)
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize("scaling", ["training", "evaluation"])
def test_the_mean_over_all_masks_is_the_deterministic_model_of_linear_branches(scaling, monkeypatch):
    survival = [0.9, 0.7, 0.5]
    block = linear_block(len(survival), noise=StochasticDepth(survival, scaling=scaling))
    x = torch.randn(4, 2, dtype=torch.float64)
    mean = torch.zeros_like(x)
    for mask in itertools.product([0, 1], repeat=len(survival)):
        draws = iter([p - 0.01 if alive else p + 0.01 for p, alive in zip(survival, mask, strict=True)])
        chance = 1.0
        for p, alive in zip(survival, mask, strict=True):
            chance *= p if alive else 1 - p
        mean += chance * with_draws(block, x, draws, monkeypatch)
    assert torch.allclose(mean, block.eval()(x), rtol=1e-12)


def test_a_skipped_branch_is_not_computed_and_not_counted():
    calls: list[int] = []

    class Spy(nn.Module):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

        def forward(self, t, x: Tensor) -> Tensor:
            calls.append(self.index)
            return -x

    torch.manual_seed(1)
    block = ODEBlock(PiecewiseConstant([Spy(i) for i in range(200)]), noise=StochasticDepth(0.5))
    block(torch.ones(1, 2))
    assert block.evaluations == len(calls)
    assert 60 < len(calls) < 140
    calls.clear()
    block.eval()(torch.ones(1, 2))
    assert calls == list(range(200))


def test_the_random_model_is_the_same_under_another_solver_and_other_steps():
    seen: list[set[float]] = []
    block = linear_block(8, noise=StochasticDepth(0.5))
    for stepping in (FixedSteps(Euler()), FixedSteps(Midpoint(), 4), Adaptive("dopri5")):
        block.stepping = stepping
        alive: set[float] = set()
        for index, node in enumerate(block.theta.nodes):
            node.register_forward_hook(lambda *_, i=index, alive=alive: alive.add(i) and None)
        torch.manual_seed(5)
        block(torch.ones(1, 2, dtype=torch.float64))
        seen.append(alive)
    assert seen[0] == seen[1] == seen[2]
    assert 0 < len(seen[0]) < 8


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_the_adjoint_meets_the_same_masks_on_its_way_back(per):
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([MLPBranch(2) for _ in range(4)]), FixedSteps(RK4(), 16)).double()
    block.noise = StochasticDepth(0.5, per=per)
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    gradients = []
    for method in (block.gradient, ContinuousAdjoint()):
        block.gradient = method
        torch.manual_seed(3)
        y = block(x)
        gradients.append(torch.autograd.grad(y.sin().sum(), [x, *block.parameters()], allow_unused=True))
    for exact, found in zip(*gradients, strict=True):
        expected = torch.zeros(()) if exact is None else exact
        assert torch.allclose(torch.zeros_like(expected) if found is None else found, expected, atol=1e-6)


def test_each_sample_has_a_mask_of_its_own_of_the_right_frequency():
    block = linear_block(1, noise=StochasticDepth(0.25, per="sample"))
    torch.manual_seed(0)
    x = torch.ones(4000, 2, dtype=torch.float64)
    kept = ((block(x) - x).abs().sum(dim=1) > 0).double().mean()
    assert float(kept) == pytest.approx(0.25, abs=0.03)


def test_in_evaluation_the_branch_is_whole_or_scaled_by_p():
    x = torch.randn(3, 2, dtype=torch.float64)
    block = linear_block(1).eval()
    increment = block(x) - x
    block.noise = StochasticDepth(0.5)
    assert torch.equal(block(x), x + increment)
    block.noise = StochasticDepth(0.5, scaling="evaluation")
    assert torch.allclose(block(x), x + 0.5 * increment)


def test_certain_survival_is_no_noise_at_all():
    block, x = linear_block(3), torch.randn(2, 2, dtype=torch.float64)
    expected = block(x)
    block.noise = StochasticDepth(1.0)
    assert torch.equal(block(x), expected)


def test_linear_decay_is_that_of_huang_et_al():
    survival = linear_decay(54, 0.5)
    assert survival[0] == pytest.approx(1 - 1 / 54 * 0.5)
    assert survival[-1] == 0.5
    assert sum(survival) == pytest.approx((3 * 54 - 1) / 4)


def test_refinement_keeps_the_probabilities_over_depth_time():
    block = linear_block(2, noise=StochasticDepth([0.9, 0.5]))
    finer = refine_theta(refine_steps(block))
    assert finer.noise is not None
    assert finer.noise.survival == [0.9, 0.9, 0.5, 0.5]


@pytest.mark.parametrize("survival", [0.0, -0.1, 1.1, float("nan"), [], [0.5, 0.0]])
def test_probabilities_outside_0_to_1_are_refused(survival):
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        StochasticDepth(survival)


def test_another_number_of_probabilities_than_pieces_is_refused():
    with pytest.raises(ValueError, match=r"2 survival probabilities .* 3 pieces"):
        linear_block(3, noise=StochasticDepth([0.5, 0.5]))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'sample'"):
        StochasticDepth(0.5, per="samples")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="pass StochasticDepth"):
        linear_block(1).noise = 0.5  # pyright: ignore[reportAttributeAccessIssue]
