"""Error norms do not depend on the batch, and step sizes follow the published controller."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from odenet.blocks.compile.columns import columns
from odenet.blocks.per_sample import error_control
from odenet.blocks.per_sample.error_control import (
    Tolerance,
    initial_step,
    log_growth,
    mean_square,
    smallest_step,
    time_of,
)

END = torch.tensor(10.0, dtype=torch.float64)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 40), (5, 2, 3, 4)], ids=str)
def test_the_norm_is_the_root_mean_square_of_each_sample(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    expected = torch.stack([sample.double().square().mean() for sample in x])
    torch.testing.assert_close(mean_square((x,)).flatten().double(), expected, rtol=1e-6, atol=0)


def test_a_state_by_columns_has_the_same_norms() -> None:
    x = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(mean_square(columns(x)), mean_square((x,)), rtol=1e-15, atol=0)


def test_norms_are_the_same_under_autocast() -> None:
    x = torch.randn(7, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = mean_square((x,))
    assert torch.equal(under, mean_square((x,)))


def test_a_field_receives_a_t_for_each_sample_in_the_dtype_of_the_state() -> None:
    x = torch.zeros(3, 2)
    t = time_of(double(1, 2, 3).view(3, 1), x)
    assert t.dtype == torch.float32
    assert t.tolist() == [[1], [2], [3]]


def test_the_tolerance_is_never_zero() -> None:
    assert Tolerance(1e-3, 0.0).of(torch.zeros(2)).min() > 0
    torch.testing.assert_close(Tolerance(0.1, 0.5).of(torch.tensor([-2.0, 1.0])), torch.tensor([0.7, 0.6]))


def test_a_step_with_the_target_error_is_followed_by_an_equal_step() -> None:
    aimed = math.log(0.9) * 5
    growth, _ = log_growth(double(aimed), double(error_control.BETA * aimed), order=5)
    assert float(growth) == pytest.approx(math.log(0.9) + 0.17 * -aimed + 0.04 * aimed, rel=1e-12)
    assert abs(float(growth)) < 0.05


@pytest.mark.parametrize("order", [2, 3, 5])
def test_a_rejected_step_is_followed_by_one_with_the_target_error(order: int) -> None:
    growth, log_previous_error = log_growth(double(math.log(3.0)), double(0.123), order)
    assert math.exp(float(growth)) == pytest.approx(0.9 * 3 ** (-1 / order), rel=1e-12)
    assert float(log_previous_error) == 0.123


def test_growth_is_bounded_whatever_the_error_is() -> None:
    ratios = double(0.0, 1e-300, 1e300, math.inf, math.nan)
    growth, log_previous_error = log_growth(ratios.log(), torch.zeros(5).double(), 5)
    assert growth.exp().tolist() == pytest.approx([10, 10, 0.2, 0.1, 0.1])
    assert torch.isfinite(log_previous_error).all()


@pytest.mark.parametrize("order", [3, 5])
def test_the_first_step_is_that_of_scipy(order: int) -> None:
    from scipy.integrate._ivp.common import select_initial_step

    x, end = double(1.0, -0.5).view(1, 2), 10.0

    def f(t: Any, x: Tensor) -> Tensor:
        del t
        return -x * torch.tensor([3.0, 0.2], dtype=torch.float64)

    theirs = select_initial_step(
        lambda t, y: f(t, torch.as_tensor(y)[None])[0].numpy(),
        0.0, x[0].numpy(), end, math.inf, f(0.0, x)[0].numpy(), 1.0, order - 1, 1e-4, 1e-5,
    )  # fmt: skip
    ours = initial_step(f, torch.zeros(1, 1).double(), x, f(0.0, x), Tolerance(1e-4, 1e-5), order, END)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-12)


def test_the_first_step_is_finite_for_every_slope() -> None:
    t, x = torch.zeros(5, 1).double(), torch.ones(5, 2).double()
    for slope in (0.0, 1e300, -1e-300, math.inf, math.nan):
        h = initial_step(lambda _, x: x / 0, t, x, torch.full_like(x, slope), Tolerance(1e-6, 1e-6), 5, END)
        assert torch.isfinite(h).all()
        assert (h >= smallest_step(END)).all()


def test_the_first_step_is_tried_within_the_interval() -> None:
    seen: list[float] = []

    def f(t: Any, x: Tensor) -> Tensor:
        seen.append(float(t.max()))
        return 0 * x

    short = torch.tensor(1e-9, dtype=torch.float64)
    initial_step(f, torch.zeros(3, 1).double(), torch.ones(3, 2).double(), torch.zeros(3, 2), Tolerance(1, 1), 5, short)
    assert seen == [1e-9]


@pytest.mark.parametrize("entries", [1, 3, 64, 5000, 70001])
def test_a_mean_square_is_the_same_to_the_last_bit_alone_in_a_batch_and_in_any_layout(entries: int) -> None:
    x = torch.randn(9, entries, generator=torch.Generator().manual_seed(0))
    whole = mean_square((x,))
    torch.testing.assert_close(whole, x.square().mean(1, keepdim=True))
    for rows in ([0], [3, 4], list(range(8))):
        for part in (x[rows], x.t().contiguous().t()[rows]):
            assert torch.equal(mean_square((part,)), whole[rows])
    images = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    assert mean_square((images,)).shape == (5, 1, 1, 1)
    assert torch.equal(mean_square((images.to(memory_format=torch.channels_last),)), mean_square((images,)))
