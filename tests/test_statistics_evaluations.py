"""A field with statistics gives each evaluation its own, and a collector averages them over batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from odenet import Galerkin, PiecewiseConstant, PiecewiseLinear, Theta
from odenet.blocks.replay.positions import Positions
from odenet.blocks.statistics.evaluations import Collector, evaluate, with_statistics
from odenet.blocks.statistics.tables import Statistics
from odenet.blocks.theta.base import Piece, Time

KINDS: Sequence[Callable[[list[nn.Module]], Theta]] = (PiecewiseConstant, PiecewiseLinear, Galerkin)


class Normalized(nn.Module):
    """F(t, x) = w·norm(x), of shape (batch, 2)."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2, eps=1e-12).double()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.weight * self.norm(x)


def pieces(kind: Callable[[list[nn.Module]], Theta], *, training: bool = False) -> list[Piece]:
    return list(kind([Normalized(), Normalized()]).train(training).pieces())


def rows(*means: float) -> Statistics:
    mean = torch.tensor(means, dtype=torch.float64)[:, None].expand(-1, 2).clone()
    times = [k / len(means) for k in range(len(means))]
    return Statistics([{"norm": (mean, torch.ones_like(mean))}], [times], "")


@pytest.mark.parametrize("kind", KINDS)
def test_buffers_take_the_place_of_those_of_the_branch(kind: Callable[[list[nn.Module]], Theta]) -> None:
    piece, x = pieces(kind)[0], torch.randn(3, 2, dtype=torch.float64)
    given = {"norm.running_mean": torch.ones(2).double(), "norm.running_var": torch.full((2,), 4.0).double()}
    factor = piece.field(0.5, torch.ones(1, 2, dtype=torch.float64))[0, 0].item()
    plain = pieces(PiecewiseConstant)[0]
    torch.testing.assert_close(evaluate(plain, 0.5, x, given), (x - 1) / 2)
    found = evaluate(piece._replace(field=lambda t, y: piece.field(t, y)), 0.5, x, {})
    torch.testing.assert_close(found, piece.field(0.5, x))
    assert factor > 0


def test_a_field_that_is_no_module_reads_the_same_buffers_and_its_branch_gets_its_own_back() -> None:
    piece = pieces(PiecewiseConstant)[0]
    node, x = piece.nodes[0], torch.randn(3, 2, dtype=torch.float64)
    given = {"norm.running_mean": torch.ones(2).double()}
    scaled = piece._replace(field=lambda t, y: 2 * node(t, y))
    torch.testing.assert_close(evaluate(scaled, 0.0, x, given), 2 * (x - 1))
    torch.testing.assert_close(scaled.field(0.0, x), 2 * x)


def test_each_evaluation_reads_its_own_row() -> None:
    (first, _), x = pieces(PiecewiseConstant), torch.randn(3, 2, dtype=torch.float64)
    (piece,) = with_statistics([first], rows(1.0, 2.0), 1.0, Positions(1))
    for mean in (1.0, 2.0):
        torch.testing.assert_close(piece.field(0.3, x), x - mean)


def test_where_the_evaluation_is_unknown_the_function_of_t_is_read() -> None:
    (first, _), x, positions = pieces(PiecewiseConstant), torch.randn(3, 2, dtype=torch.float64), Positions(1)
    (piece,) = with_statistics([first], rows(1.0, 2.0), 1.0, positions)
    positions.forget()
    torch.testing.assert_close(piece.field(0.25, x), x - 1.5)


def test_an_evaluation_beyond_the_rows_reads_the_function_of_t() -> None:
    (first, _), x = pieces(PiecewiseConstant), torch.randn(3, 2, dtype=torch.float64)
    (piece,) = with_statistics([first], rows(1.0, 2.0), 1.0, Positions(1))
    for mean in (1.0, 2.0, 1.0):
        torch.testing.assert_close(piece.field(0.0, x), x - mean)


def test_in_training_mode_the_row_of_the_evaluation_moves_and_no_other() -> None:
    first, _ = pieces(PiecewiseConstant, training=True)
    x, statistics = torch.randn(5, 2, dtype=torch.float64), rows(1.0, 2.0)
    (piece,) = with_statistics([first], statistics, 1.0, Positions(1))
    slope = piece.field(0.0, x)
    torch.testing.assert_close(slope, (x - x.mean(0)) / x.std(0, correction=0))
    mean, _ = statistics.tables[0]["norm"]
    torch.testing.assert_close(mean, torch.stack([0.9 + 0.1 * x.mean(0), torch.full((2,), 2.0).double()]))
    assert torch.equal(first.nodes[0].get_buffer("norm.running_mean"), torch.zeros(2).double())


@pytest.mark.parametrize("kind", KINDS)
def test_a_collector_averages_the_batches_of_each_evaluation(kind: Callable[[list[nn.Module]], Theta]) -> None:
    collector, found = Collector("a block"), pieces(kind)
    for node in found[0].nodes:
        norm = node.get_submodule("norm")
        norm.training, norm.momentum = True, None  # pyright: ignore[reportArgumentType]
    batches = [torch.randn(4, 2, dtype=torch.float64) for _ in range(3)]
    for x in batches:
        piece, *_ = collector.on(found[:1])
        piece.field(0.0, x)
        piece.field(0.5, 2 * x)
        collector.end_batch()
    first, second = (row["norm"] for row in collector.rows[0])
    mean = torch.stack([x.mean(0) for x in batches]).mean(0)
    var = torch.stack([x.var(0) for x in batches]).mean(0)
    torch.testing.assert_close([first.mean, first.var, second.mean, second.var], [mean, var, 2 * mean, 4 * var])
    assert (collector.times, collector.batches, int(first.batches)) == ([[0.0, 0.5]], 3, 3)
    assert torch.equal(found[0].nodes[0].get_buffer("norm.running_mean"), torch.zeros(2).double())


def test_a_solve_that_makes_other_evaluations_for_each_batch_is_refused() -> None:
    collector, found, x = Collector("a block"), pieces(PiecewiseConstant)[:1], torch.randn(4, 2, dtype=torch.float64)
    collector.on(found)[0].field(0.0, x)
    collector.end_batch()
    (piece,) = collector.on(found)
    with pytest.raises(ValueError, match=r"another number of evaluations for each batch, .*: use FixedSteps"):
        collector.end_batch()
    piece.field(0.0, x)
    with pytest.raises(ValueError, match=r"another number of evaluations for each batch, .*: use FixedSteps"):
        piece.field(0.0, x)
