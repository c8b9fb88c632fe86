"""Densities of costs, and the augmented field and projection, by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from odenet import JacobianNorm, KineticEnergy, Nonnegative
from odenet.blocks.costs import AugmentedField, AugmentedProjection
from odenet.blocks.theta.base import Time


def field(t: Time, x: Tensor) -> Tensor:
    return x.square() + t


def test_the_augmented_slope_has_the_costs_of_each_sample_behind_it() -> None:
    x, noise = torch.randn(4, 3), torch.tensor([1.0, -1.0, 1.0]).expand(4, 3)
    augmented = AugmentedField(field, 3, [KineticEnergy(), JacobianNorm()], noise)
    found = augmented(0.5, torch.cat([x, torch.randn(4, 2)], dim=1))
    torch.testing.assert_close(found[:, :3], x.square() + 0.5)
    torch.testing.assert_close(found[:, 3], (x.square() + 0.5).square().sum(1))
    torch.testing.assert_close(found[:, 4], (2 * x).square().sum(1))


def test_with_gradients_disabled_nothing_is_recorded() -> None:
    augmented = AugmentedField(field, 3, [JacobianNorm()], torch.ones(4, 3))
    with torch.no_grad():
        assert not augmented(0.0, torch.randn(4, 4)).requires_grad


def test_the_costs_of_a_feature_map_are_those_of_its_pixels() -> None:
    x = torch.randn(2, 3, 4, 4)
    found = AugmentedField(field, 3, [KineticEnergy()], None)(0.0, torch.cat([x, x[:, :1]], dim=1))
    torch.testing.assert_close(found[:, 3], x.square().square().sum(1))


def test_the_projection_leaves_the_integrals_as_they_are() -> None:
    projection, state, slope = (
        AugmentedProjection(Nonnegative(), 2),
        torch.tensor([[-1.0, 2.0, -3.0]]),
        -torch.ones(1, 3),
    )
    assert torch.equal(projection(state), torch.tensor([[0.0, 2.0, -3.0]]))
    assert torch.equal(projection.tangent(projection(state), slope), torch.tensor([[0.0, -1.0, -1.0]]))


def test_costs_are_values() -> None:
    assert KineticEnergy(0.5) == KineticEnergy(0.5) != KineticEnergy()
    assert repr(JacobianNorm(0.1)) == "JacobianNorm(weight=0.1)"
