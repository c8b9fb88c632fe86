"""Sets of points have the shapes that they are named after, and are functions of their seed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from odenet.data import POINT_SETS, PointBatches, Points, annuli, moons, spirals, swapped_line
from odenet.training import Classification, Training, evaluate, fit


@pytest.mark.parametrize("name", POINT_SETS)
def test_points_are_a_function_of_the_seed_and_the_classes_alternate(name: str) -> None:
    one, again, other = (POINT_SETS[name](101, seed) for seed in (0, 0, 1))
    assert torch.equal(one.x, again.x)
    assert not torch.allclose(one.x, other.x)
    assert torch.equal(one.labels, torch.arange(101) % 2)
    assert torch.equal(one.targets, 2.0 * one.labels.unsqueeze(1) - 1)
    assert one.x.dtype == torch.float32


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_annuli_are_uniform_in_a_ball_and_in_the_annulus_around_it(dimensions: int) -> None:
    points = annuli(4000, dimensions=dimensions)
    radii = points.x.double().norm(dim=1)
    for label, (least, most) in enumerate([(0.0, 0.5), (1.0, 1.5)]):
        within = radii[points.labels == label]
        assert least <= float(within.min())
        assert float(within.max()) <= most + 1e-6
        share = (within**dimensions - least**dimensions) / (most**dimensions - least**dimensions)
        assert float(share.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(share.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.02)


def test_moons_are_those_of_scikit_learn() -> None:
    points = moons(101, noise=0.0)
    x, labels = make_moons(101, shuffle=False, noise=None)
    for label in (0, 1):
        ours = points.x[points.labels == label]
        theirs = torch.from_numpy(x[labels == label]).float()
        # Of an odd number of points, scikit-learn gives the one left over to the other class.
        assert (ours.amin(0) - theirs.amin(0)).abs().max() < 2e-3
        assert (ours.amax(0) - theirs.amax(0)).abs().max() < 2e-3
    even, (x, labels) = moons(100, noise=0.0), make_moons(100, shuffle=False, noise=None)
    for label in (0, 1):
        torch.testing.assert_close(even.x[even.labels == label], torch.from_numpy(x[labels == label]).float())


def test_one_spiral_is_the_other_turned_by_half_a_turn() -> None:
    points = spirals(1000, noise=0.0, turns=1.5)
    x = points.x.double()
    angle = torch.atan2(x[:, 1], x[:, 0]) - 2 * math.pi * 1.5 * x.norm(dim=1)
    turned = angle - math.pi * points.labels
    torch.testing.assert_close(turned.cos(), torch.ones(1000, dtype=torch.float64), rtol=0, atol=1e-6)


def test_noise_has_its_standard_deviation() -> None:
    moved = swapped_line(10000, dimensions=2, noise=0.3).x - swapped_line(10000, dimensions=2, noise=0.0).x
    assert float(moved.std()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_points_on_the_line_have_the_opposite_sign_as_target(dimensions: int) -> None:
    points = swapped_line(10, dimensions=dimensions, noise=0.0)
    assert torch.equal(points.x[:, :1], -points.targets)
    assert points.x[:, 1:].eq(0).all()


def test_batches_of_an_epoch_hold_every_point_once_and_start_anywhere() -> None:
    batches = moons(10).batches(4, seed=3, shuffle=True)
    first, second = ([x for x, _ in batches.epoch(epoch)] for epoch in (0, 1))
    assert [len(x) for x in first] == [4, 4, 2]
    assert len(batches) == 3
    assert torch.equal(torch.cat(first).sort(0).values, moons(10).x.sort(0).values)
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(next(batches.epoch(1, start=1))[0], second[1])
    assert torch.equal(torch.cat([x for x, _ in moons(10).batches(4).epoch(5)]), moons(10).x)


def test_a_network_can_be_trained_on_points_and_the_training_resumes(tmp_path: Path) -> None:
    points = swapped_line(40)
    settings = Training(epochs=3, batch_size=8, optimizer="adam", lr=0.1, device="cpu")

    def trained(folder: Path) -> dict[str, float]:
        torch.manual_seed(0)
        net, task = nn.Linear(1, 2), Classification(2)
        batches = points.batches(8, seed=1, shuffle=True)
        fit(net, task, batches, None, settings, seed=0, folder=folder, quiet=True)
        return evaluate(net, task, points.batches(40))

    found = trained(tmp_path / "a")
    assert found["accuracy"] > 0.9
    assert trained(tmp_path / "a") == found == trained(tmp_path / "b")


@pytest.mark.parametrize(
    ("x", "labels", "match"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), r"shape \(3,\) with labels of shape \(3,\) .* pass shapes"),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), r"labels of shape \(2,\) were given"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), r"shape \(0, 2\) .* n and d at least 1"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), "labels must be 0 or 1"),
        (torch.zeros(2, 2), torch.zeros(2), r"labels of torch\.float32 .* pass torch\.float32 and torch\.int64"),
        (torch.zeros(2, 2).double(), torch.tensor([0, 1]), r"points of torch\.float64 .* pass torch\.float32"),
    ],
)
def test_tensors_that_are_no_points_of_two_classes_are_refused(x: Tensor, labels: Tensor, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        Points(x, labels)


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True], ids=repr)
def test_a_number_of_points_or_a_batch_size_that_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"number must be a whole number"):
        spirals(value)
    with pytest.raises((TypeError, ValueError), match=r"batch_size must be a whole number"):
        PointBatches(moons(4), value)
