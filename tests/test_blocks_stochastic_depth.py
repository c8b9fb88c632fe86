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
    Backprop,
    Checkpointed,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    StochasticDepth,
    linear_decay,
    refine_steps,
    refine_theta,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping

STEPPINGS: list[Stepping] = [
    FixedSteps(Euler()),
    FixedSteps(Euler(), per_piece=4),
    FixedSteps(RK4()),
    Adaptive("dopri5"),
]
"""Solvers and steps under which the random model has to be the same."""

GRADIENTS: list[tuple[GradientMethod, Stepping]] = [
    (Backprop(), FixedSteps(RK4(), per_piece=4)),
    (Checkpointed(), FixedSteps(RK4(), per_piece=4)),
    (Reversible(), FixedSteps(RK4(), per_piece=4)),
    (ContinuousAdjoint(), FixedSteps(RK4(), per_piece=4)),
]
"""Gradient methods, each with a stepping fine enough for the gradient to be that of the flow."""


class Spy(nn.Module):
    """F = -x, or, with dropout, something that draws too; notes when it is called."""

    def __init__(self, index: int, calls: list[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.index, self.calls, self.dropout = index, calls, nn.Dropout(dropout)

    def forward(self, t: object, x: Tensor) -> Tensor:
        self.calls.append(self.index)
        return -self.dropout(x)


def spies(pieces: int, dropout: float = 0.0, **options: Any) -> tuple[ODEBlock, list[int]]:
    calls: list[int] = []
    return ODEBlock(PiecewiseConstant([Spy(i, calls, dropout) for i in range(pieces)]), **options), calls


def linear_block(pieces: int = 3, **options: Any) -> ODEBlock:
    torch.manual_seed(0)
    branches = [Autonomous(nn.Linear(2, 2, bias=False, dtype=torch.float64)) for _ in range(pieces)]
    return ODEBlock(PiecewiseConstant(branches), **options)


def with_mask(
    block: ODEBlock, x: Tensor, survival: list[float], mask: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch
) -> Tensor:
    """x(T) where the pieces survive that `mask` says."""
    draws = torch.tensor([0.5 * p if alive else 1.1 * p for p, alive in zip(survival, mask, strict=True)])
    monkeypatch.setattr(torch, "rand", lambda *size, **_: draws.view(-1, *[1] * (len(size) - 1)).expand(size))
    try:
        return block(x)
    finally:
        monkeypatch.undo()


def every_mask(survival: list[float]) -> Iterator[tuple[float, tuple[bool, ...]]]:
    """The 2ⁿ masks, each with its probability."""
    for mask in itertools.product([False, True], repeat=len(survival)):
        chance = 1.0
        for p, alive in zip(survival, mask, strict=True):
            chance *= p if alive else 1 - p
        yield chance, mask


@pytest.mark.parametrize("scaling", ["training", "evaluation"])
@pytest.mark.parametrize("per", ["batch", "sample"])
def test_the_mean_over_all_masks_is_the_deterministic_model_of_linear_branches(scaling, per, monkeypatch):
    survival = [0.9, 0.7, 0.5]
    block = linear_block(len(survival), noise=StochasticDepth(survival, scaling=scaling, per=per))
    x = torch.randn(4, 2, dtype=torch.float64)
    mean = torch.zeros_like(x)
    for chance, mask in every_mask(survival):
        mean += chance * with_mask(block, x, survival, mask, monkeypatch)
    assert torch.allclose(mean, block.eval()(x), rtol=1e-12)


def test_the_step_of_a_piece_is_h_b_over_p(monkeypatch):
    survival = [0.8, 0.5]
    block = linear_block(2, noise=StochasticDepth(survival))
    A, B = (node.get_parameter("module.weight").T for node in block.theta.nodes)
    x = torch.randn(4, 2, dtype=torch.float64)
    through = with_mask(block, x, survival, (True, False), monkeypatch)
    assert torch.allclose(through, x + x @ A / 0.8)
    both = with_mask(block, x, survival, (True, True), monkeypatch)
    assert torch.allclose(both, through + through @ B / 0.5)
    block.noise = StochasticDepth(survival, scaling="evaluation")
    assert torch.equal(with_mask(block, x, survival, (True, False), monkeypatch), x + x @ A)


def test_a_skipped_branch_is_not_computed_and_not_counted():
    torch.manual_seed(1)
    block, calls = spies(200, noise=StochasticDepth(0.5))
    block(torch.ones(1, 2))
    assert block.evaluations == len(calls)
    assert 60 < len(calls) < 140
    calls.clear()
    block.eval()(torch.ones(1, 2))
    assert calls == list(range(200))


def test_a_skipped_piece_takes_no_step_either(monkeypatch):
    projected: list[Tensor] = []
    block, calls = spies(4, noise=StochasticDepth(0.5), projection=lambda x: projected.append(x) or x.relu())
    with_mask(block, torch.ones(1, 2), [0.5] * 4, (True, False, False, True), monkeypatch)
    assert calls == [0, 3]
    assert len(projected) == 2


@pytest.mark.parametrize("stepping", STEPPINGS[:3], ids=repr)
def test_a_batch_that_skips_everything_comes_out_as_it_went_in(stepping, monkeypatch):
    block, calls = spies(3, stepping=stepping, noise=StochasticDepth(0.5))
    x = torch.randn(2, 2)
    assert torch.equal(with_mask(block, x, [0.5] * 3, (False,) * 3, monkeypatch), x)
    assert calls == []
    assert block.evaluations == 0


def test_a_projection_meets_the_state_also_where_everything_is_skipped(monkeypatch):
    block, _ = spies(3, noise=StochasticDepth(0.5), projection=torch.relu)
    x = torch.randn(2, 2)
    assert torch.equal(with_mask(block, x, [0.5] * 3, (False,) * 3, monkeypatch), x.relu())


@pytest.mark.parametrize("dropout", [0.0, 0.5], ids=["certain branches", "branches that draw too"])
def test_the_random_model_is_the_same_under_another_solver_and_other_steps(dropout):
    seen = []
    for stepping in STEPPINGS:
        block, calls = spies(12, dropout, stepping=stepping, noise=StochasticDepth(0.5))
        torch.manual_seed(5)
        block(torch.ones(1, 2))
        seen.append(set(calls))
    assert all(alive == seen[0] for alive in seen)
    assert 0 < len(seen[0]) < 12


def test_each_sample_keeps_its_mask_under_another_solver():
    # On x′ = 0 or x′ = c/p, every solver is exact: the results differ only if the masks do.
    branches = [Autonomous(nn.Linear(2, 2, dtype=torch.float64)) for _ in range(5)]
    block = ODEBlock(PiecewiseConstant(branches), noise=StochasticDepth(0.5, per="sample"))
    for branch in branches:
        nn.init.zeros_(branch.get_parameter("module.weight"))
    x, ends = torch.zeros(7, 2, dtype=torch.float64), []
    for stepping in STEPPINGS:
        block.stepping = stepping
        torch.manual_seed(5)
        ends.append(block(x))
    assert all(torch.allclose(end, ends[0], atol=1e-12) for end in ends)
    assert len(ends[0].unique(dim=0)) > 1


@pytest.mark.parametrize("per", ["batch", "sample"])
@pytest.mark.parametrize(("method", "stepping"), GRADIENTS, ids=repr)
def test_every_gradient_method_meets_the_masks_of_the_forward_pass(method, stepping, per):
    torch.manual_seed(0)
    theta = PiecewiseConstant([MLPBranch(2) for _ in range(5)], horizon=1.0)
    block = ODEBlock(theta, FixedSteps(RK4(), per_piece=4), noise=StochasticDepth(0.5, per=per)).double()
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    expected = _gradients(block, x)
    block.stepping, block.gradient = stepping, method
    found = _gradients(block, x)
    assert any(gradient.count_nonzero() == 0 for gradient in expected) == (per == "batch")
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


def _gradients(block: ODEBlock, x: Tensor) -> list[Tensor]:
    torch.manual_seed(7)  # the first piece is skipped, the second and the last survive
    inputs = [x, *block.parameters()]
    found = torch.autograd.grad(block(x).sin().sum(), inputs, allow_unused=True, materialize_grads=True)
    return list(found)


def test_parameters_of_a_skipped_branch_have_no_gradient(monkeypatch):
    block = linear_block(2, noise=StochasticDepth(0.5))
    with_mask(block, torch.ones(1, 2, dtype=torch.float64), [0.5] * 2, (True, False), monkeypatch).sum().backward()
    assert [parameter.grad is None for parameter in block.parameters()] == [False, True]


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


@pytest.mark.parametrize("survival", [1, 1.0, [1.0, 1.0, 1.0]])
def test_certain_survival_is_no_noise_at_all(survival):
    block, x = linear_block(3), torch.randn(2, 2, dtype=torch.float64)
    expected = block(x)
    for per in ("batch", "sample"):
        block.noise = StochasticDepth(survival, per=per)
        assert torch.equal(block(x), expected)


def test_a_default_device_does_not_move_the_draws_of_a_batch_from_the_host():
    torch.manual_seed(0)
    expected = (torch.rand(20) < 0.5).tolist()
    torch.manual_seed(0)
    block, calls = spies(20, noise=StochasticDepth(0.5))
    with torch.device("meta"):
        block(torch.ones(1, 2))
    assert calls == [i for i, alive in enumerate(expected) if alive]


def test_linear_decay_is_that_of_huang_et_al():
    survival = linear_decay(54, 0.5)
    assert survival[0] == pytest.approx(1 - 1 / 54 * 0.5)
    assert survival[-1] == 0.5
    assert sum(survival) == pytest.approx((3 * 54 - 1) / 4)


def test_linear_decay_goes_on_from_block_to_block():
    whole = linear_decay(9, 0.2)
    assert [*linear_decay(4, 0.2, total=9), *linear_decay(5, 0.2, first=5, total=9)] == whole


def test_refinement_keeps_the_probabilities_over_depth_time():
    block = linear_block(2, noise=StochasticDepth([0.9, 0.5]))
    finer = refine_theta(refine_steps(block))
    assert finer.noise is not None
    assert finer.noise.survival == [0.9, 0.9, 0.5, 0.5]


BAD = [0.0, -0.1, 1.1, float("nan"), float("inf"), True, "0.5", ["0.5"], None, [], [0.5, 0.0], [0.5, None]]


@pytest.mark.parametrize("survival", [*BAD, torch.tensor([0.5])], ids=repr)
def test_what_is_no_probability_of_survival_is_refused(survival: Any):
    with pytest.raises(ValueError, match=r"survival = .* \(0, 1\]"):
        StochasticDepth(survival)


@pytest.mark.parametrize("last", [0.0, 1.5, float("nan"), True, "0.5", None, [0.5]], ids=repr)
def test_linear_decay_to_what_is_no_probability_is_refused(last: Any):
    with pytest.raises((TypeError, ValueError), match=r"last = .* \(0, 1\]|last must be a number.*, got .*"):
        linear_decay(4, last)


@pytest.mark.parametrize("blocks", [{"pieces": 0}, {"pieces": 2, "first": 0}, {"pieces": 2, "first": 3, "total": 3}])
def test_linear_decay_over_blocks_that_are_not_there_is_refused(blocks: dict[str, int]):
    with pytest.raises(ValueError, match="some of 1, …, total"):
        linear_decay(**blocks)


def test_another_number_of_probabilities_than_pieces_is_refused():
    with pytest.raises(ValueError, match=r"2 survival probabilities .* 3 pieces"):
        linear_block(3, noise=StochasticDepth([0.5, 0.5]))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'sample'"):
        StochasticDepth(0.5, per="samples")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="did you mean 'training'"):
        StochasticDepth(0.5, scaling="train")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="pass StochasticDepth"):
        linear_block(1).noise = 0.5  # pyright: ignore[reportAttributeAccessIssue]
