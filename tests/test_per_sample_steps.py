"""Steps per sample have the order of their pair, and samples that finished do not change."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from odenet.blocks.compile.columns import joined
from odenet.blocks.per_sample.error_control import Tolerance
from odenet.blocks.per_sample.steps import FINISHED, NOT_FINITE, RUNNING, Bounds, EmbeddedSteps, Samples
from odenet.blocks.solvers.embedded import PAIRS
from tests.laws import Graphs, name_of, slope
from tests.problems import SMOOTH, Problem, linear

END = torch.tensor(1.0, dtype=torch.float64)


def steps(name: str = "dopri5", *, by_columns: bool = False) -> EmbeddedSteps:
    return EmbeddedSteps(PAIRS[name], by_columns=by_columns)


def bounds(x: Tensor, tolerance: float = 1e-6) -> Bounds:
    limit = torch.full((len(x), *[1] * (x.dim() - 1)), 1000, dtype=torch.int32)
    return Bounds(END, limit, Tolerance(tolerance, tolerance))


def decay(t: object, x: Tensor) -> Tensor:
    del t
    return -x


def begun(x: Tensor, f: Callable[..., Tensor] = decay, tolerance: float = 1e-6) -> Samples:
    t = torch.zeros(len(x), *[1] * (x.dim() - 1), dtype=torch.float64)
    return steps().begin(f, t, x, f(t, x), torch.zeros_like(t, dtype=torch.int32), bounds(x, tolerance))


def error_of_equal_steps(name: str, problem: Problem, number: int, of: str) -> float:
    """Return the error of the method b, or of the embedded method b - e, after equal steps of the method b."""
    method, (piece,) = steps(name), problem.theta.pieces()
    f, x = piece.field, problem.x
    times = [torch.full((len(x), 1), piece.end * k / number, dtype=torch.float64) for k in range(number + 1)]
    k = f(times[0], x)
    worst = 0.0
    for t0, t1 in pairwise(times):
        h = t1 - t0
        (x1,), slopes = method.slopes(f, t0, t1, h, (x,), (k,))
        error = h * sum(e * each for e, (each,) in zip(method.pair.error_weights, slopes, strict=True))
        worst = max(worst, float(error.abs().max()))
        x, (k,) = x1, slopes[-1]
    return float((x - problem.exact).norm()) if of == "b" else worst


@pytest.mark.parametrize("make", SMOOTH, ids=name_of)
@pytest.mark.parametrize("name", ["bosh3", "adaptive_heun"])
def test_equal_steps_converge_with_the_order_and_no_faster(name: str, make: Callable[[], Problem]) -> None:
    counts = (64, 96, 128, 192, 256)
    with torch.no_grad():
        errors = [error_of_equal_steps(name, make(), number, "b") for number in counts]
    assert slope(counts, errors) == pytest.approx(PAIRS[name].order, abs=0.05)


@pytest.mark.parametrize("name", ["dopri5", "tsit5"])
def test_equal_steps_converge_with_order_five_until_rounding_hides_it(name: str) -> None:
    counts = (64, 96, 128)
    with torch.no_grad():
        errors = [error_of_equal_steps(name, linear(), number, "b") for number in counts]
    assert slope(counts, errors) == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize("name", PAIRS)
def test_the_error_estimate_has_the_order_of_the_embedded_method(name: str) -> None:
    counts = (32, 48, 64, 96, 128)
    with torch.no_grad():
        errors = [error_of_equal_steps(name, SMOOTH[1](), number, "b - e") for number in counts]
    assert slope(counts, errors) == pytest.approx(PAIRS[name].embedded_order + 1, abs=0.05)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 20), (4, 2, 3, 3)], ids=str)
def test_a_step_of_length_zero_changes_no_bit(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    one = (4, *[1] * (len(shape) - 1))
    h = torch.tensor([0.0, 0.1, 0.0, 0.3]).view(one)
    t0 = torch.zeros(one)
    x1, k1 = steps().step(decay, t0, t0 + h, h, x, -x)
    assert torch.equal(x1[[0, 2]], x[[0, 2]])
    assert torch.equal(k1[[0, 2]], -x[[0, 2]])
    assert (x1[[1, 3]] != x[[1, 3]]).all()


def test_a_finished_sample_does_not_change_while_others_continue() -> None:
    x = torch.randn(3, 2)
    samples = begun(x)
    status = torch.tensor([[FINISHED], [RUNNING], [FINISHED]], dtype=torch.int32)
    samples = samples._replace(status=status, h=torch.where(status == RUNNING, samples.h, 0.0))
    after, taken = steps().attempt(decay, samples, bounds(x))
    for name in ("t", "h", "status", "accepted", "rejected", "finite"):
        assert torch.equal(getattr(samples, name)[[0, 2]], getattr(after, name)[[0, 2]])
    for before, now in ((samples.x, after.x), (samples.slope, after.slope)):
        assert torch.equal(joined(before)[[0, 2]], joined(now)[[0, 2]])
    assert (taken.h > 0).flatten().tolist() == [False, True, False]
    assert after.accepted[:, 0].tolist() == [0, 1, 0]


def test_the_last_step_ends_at_the_end_exactly() -> None:
    x = torch.randn(5, 3)
    samples = begun(x, tolerance=1e-3)
    while int(samples.status.min()) == RUNNING:
        samples, _ = steps().attempt(decay, samples, bounds(x, 1e-3))
    assert (samples.t == 1.0).all()
    assert (samples.status == FINISHED).all()
    assert (samples.h == 0).all()


def test_a_non_finite_attempt_is_rejected_and_a_shorter_one_tried() -> None:
    def f(t: Any, x: Tensor) -> Tensor:
        return torch.where(t > 0.05, torch.nan, -x)

    x = torch.randn(2, 2)
    before = begun(x, f)._replace(h=torch.full((2, 1), 0.5))
    after, _ = steps().attempt(f, before, bounds(x))
    assert torch.equal(joined(after.x), x)
    assert after.rejected.tolist() == [[1], [1]]
    assert not after.finite.any()
    torch.testing.assert_close(after.h, torch.full((2, 1), 0.05))
    for _ in range(300):
        after, _ = steps().attempt(f, after, bounds(x))
    assert (after.status == NOT_FINITE).all()
    torch.testing.assert_close(after.t, torch.full((2, 1), 0.05, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 3, 3)], ids=str)
def test_an_attempt_is_one_graph(shape: tuple[int, ...]) -> None:
    torch.compiler.reset()
    x, graphs, method = torch.randn(shape), Graphs(), steps()
    samples = begun(x)

    def attempt(samples: Samples) -> object:
        return method.attempt(decay, samples, bounds(x))

    compiled = torch.compile(attempt, backend=graphs, fullgraph=True)
    torch.testing.assert_close(compiled(samples), attempt(samples))
    assert graphs.count == 1


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("entries", [2, 3])
def test_by_columns_a_step_is_the_same(name: str, entries: int) -> None:
    def f(t: Any, x: Tensor) -> Tensor:
        return torch.cat([x[:, 1:], -t * x[:, :1]], dim=1)

    x, t0, h = torch.randn(4, entries).double(), torch.rand(4, 1).double(), torch.rand(4, 1).double()
    whole, by_columns = (steps(name, by_columns=each).step(f, t0, t0 + h, h, x, f(t0, x)) for each in (False, True))
    torch.testing.assert_close(by_columns, whole, rtol=1e-15, atol=1e-15)


def test_by_columns_a_solve_takes_the_same_steps() -> None:
    x = torch.randn(5, 3).double()
    t, status = torch.zeros(5, 1).double(), torch.zeros(5, 1, dtype=torch.int32)
    found = []
    for method in (steps(), steps(by_columns=True)):
        samples = method.begin(decay, t, x, -x, status, bounds(x))
        while int(samples.status.min()) == RUNNING:
            samples, _ = method.attempt(decay, samples, bounds(x))
        found.append(samples)
    whole, by_columns = found
    assert torch.equal(by_columns.accepted, whole.accepted)
    assert torch.equal(by_columns.rejected, whole.rejected)
    torch.testing.assert_close(joined(by_columns.x), joined(whole.x), rtol=1e-13, atol=1e-15)
