"""Tables keep the rows of each evaluation in buffers, and make functions of t of them."""

from __future__ import annotations

import copy
import json
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from odenet import BasicBranch, ODEBlock, PiecewiseConstant
from odenet.blocks.statistics.tables import Moments, Statistics, is_tracking, norms_of, statistics_in


def table(mean: list[float], var: list[float] | None = None) -> Moments:
    """Statistics of one channel of the normalization `norm`."""
    rows = torch.tensor(mean, dtype=torch.float64)[:, None]
    return {"norm": (rows, torch.ones_like(rows) if var is None else torch.tensor(var, dtype=torch.float64)[:, None])}


def two_pieces() -> Statistics:
    return Statistics([table([1.0, 2.0], [1.0, 4.0]), table([3.0, 4.0])], [[0.0, 0.25], [0.5, 0.75]], "a solve")


def test_rows_are_buffers_under_the_names_of_the_normalizations() -> None:
    moments = {"layers.0.norm": (torch.zeros(2, 3), torch.ones(2, 3))}
    statistics = Statistics([moments], [[0.0, 0.5]], "a solve")
    assert list(statistics.state_dict()) == ["about", "pieces.0.layers.0.norm.mean", "pieces.0.layers.0.norm.var"]
    assert statistics.tables[0].keys() == moments.keys()


@pytest.mark.parametrize("kind", [float, lambda t: torch.tensor(t)], ids=["number", "tensor"])
@pytest.mark.parametrize(("t", "mean"), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0), (1.5, 4.0), (-1.0, 1.0), (9.0, 4.0)])
def test_functions_pass_through_the_rows_and_are_constant_outside(kind: type, t: float, mean: float) -> None:
    found = two_pieces().function(0.0, 2.0, horizon=2.0).at(kind(t))
    assert found["norm"][0].item() == pytest.approx(mean, rel=1e-12)


def test_on_a_piece_only_its_own_rows_count() -> None:
    assert two_pieces().function(0.0, 1.0, horizon=2.0).at(0.9)["norm"][0].item() == 2.0
    assert two_pieces().function(1.0, 2.0, horizon=2.0).at(0.9)["norm"][0].item() == 3.0


def test_parabolas_are_interpolated_exactly() -> None:
    times = [0.0, 0.2, 0.5, 0.6, 1.0]
    function = Statistics([table([t**2 for t in times])], [times], "").function(0.0, 1.0, 1.0)
    for t in (0.1, 0.33, 0.55, 0.9):
        assert function.at(t)["norm"][0].item() == pytest.approx(t**2, abs=1e-14)


def test_variances_are_interpolated_through_their_logarithm_and_may_be_zero() -> None:
    function = Statistics([table([0.0, 0.0], [1.0, math.e**2])], [[0.0, 1.0]], "").function(0.0, 1.0, 1.0)
    assert function.at(0.5)["norm"][1].item() == pytest.approx(math.e, rel=1e-4)
    zero = Statistics([table([0.0, 0.0], [0.0, 1.0])], [[0.0, 1.0]], "").function(0.0, 1.0, 1.0)
    assert zero.at(0.0)["norm"][1].item() == pytest.approx(0.0, abs=1e-15)


def test_rows_at_the_same_time_are_averaged() -> None:
    function = Statistics([table([1.0, 2.0, 4.0])], [[0.0, 0.5, 0.5]], "").function(0.0, 1.0, 1.0)
    assert function.at(0.5)["norm"][0].item() == pytest.approx(3.0)


def test_functions_can_be_evaluated_for_each_sample_under_vmap() -> None:
    function, times = two_pieces().function(0.0, 2.0, horizon=2.0), torch.linspace(0, 2, 5)
    found = torch.func.vmap(lambda t: function.at(t)["norm"][0])(times)
    torch.testing.assert_close(found, torch.stack([function.at(float(t))["norm"][0] for t in times]))


def test_rows_are_divided_among_other_pieces_and_joined_again() -> None:
    finer = two_pieces().on_pieces([1, 1, 1, 1], "a solve")
    assert finer.times == [[0.0], [0.25], [0.5], [0.75]]
    again, before = finer.on_pieces([2, 2], "a solve").state_dict(), two_pieces().state_dict()
    assert again.keys() == before.keys()
    assert all(torch.equal(again[name], before[name]) for name in before)


def test_a_copy_in_half_precision_keeps_times_and_solve() -> None:
    statistics = copy.deepcopy(two_pieces()).half()
    assert (statistics.times, statistics.solve) == (two_pieces().times, "a solve")


def test_they_are_made_from_a_state_dict_and_loaded() -> None:
    state = {f"a.{name}": value for name, value in two_pieces().state_dict().items()}
    again = statistics_in(state, "a.")
    assert again is not None
    again.load_state_dict(two_pieces().state_dict())
    assert (again.times, again.solve) == (two_pieces().times, "a solve")
    assert torch.equal(again.tables[0]["norm"][0], two_pieces().tables[0]["norm"][0])
    assert statistics_in(state, "b.") is None


def _about(content: object) -> Tensor:
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


@pytest.mark.parametrize(
    "damage",
    [
        {"about": torch.zeros(3, dtype=torch.uint8)},
        {"about": torch.zeros(3)},
        {"about": _about({"times": [[0.0, 0.25]], "solve": ""})},
        {"about": _about({"times": [[0.0], [0.5]], "solve": ""})},
        {"about": _about({"times": [[], []], "solve": ""})},
        {"about": _about([])},
        {"pieces.7.norm.mean": torch.zeros(2, 1)},
        {"pieces.1.other.mean": torch.zeros(2, 1)},
        {"pieces.x.norm.mean": torch.zeros(2, 1)},
        {"pieces.0.norm.mean": torch.zeros(3, 1)},
        {"pieces.0.mean": torch.zeros(3, 1)},
        {"rooms.0.norm.mean": torch.zeros(2, 1)},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_damaged_entries_are_refused(damage: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"under '' cannot be read .*: they are damaged; load another"):
        statistics_in(two_pieces().state_dict() | damage, "")


def test_normalizations_of_a_flow_within_a_branch_belong_to_that_flow() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.flow = nn.BatchNorm2d(2), ODEBlock(PiecewiseConstant([BasicBranch(2)]))

    assert [name for name, _ in norms_of(Nested())] == ["norm"]
    assert [name for name, _ in norms_of(BasicBranch(2))] == ["norm1", "norm2"]


def test_only_batch_normalizations_with_running_statistics_have_any() -> None:
    assert is_tracking(nn.BatchNorm1d(2))
    others = nn.BatchNorm1d(2, track_running_stats=False), nn.GroupNorm(1, 2), nn.Linear(2, 2)
    assert not any(map(is_tracking, others))


def test_functions_of_positive_rows_stay_near_them() -> None:
    times = [k / 8 for k in range(9)]
    rows = [1.0, 1.2, 2.0, 2.1, 2.0, 5.0, 4.0, 4.1, 4.0]
    function = Statistics([table(rows, rows)], [times], "").function(0.0, 1.0, 1.0)
    for (t0, t1), (a, b) in zip(pairwise(times), pairwise(rows), strict=True):
        var = function.at((t0 + t1) / 2)["norm"][1].item()
        assert min(a, b) * 0.6 < var < max(a, b) * 1.6
