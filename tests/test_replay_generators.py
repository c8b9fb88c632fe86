"""A restored generator draws the same numbers again."""

from __future__ import annotations

import torch

from odenet.blocks.replay.generators import Generators

CPU = torch.device("cpu")


def test_a_restored_generator_draws_the_same_numbers() -> None:
    generators, drawn = Generators(CPU), []
    for _ in range(3):
        generators.record()
        drawn.append(torch.rand(4))
    generators.record()
    for snapshot in (2, 0, 1):
        generators.restore(snapshot)
        assert torch.equal(torch.rand(4), drawn[snapshot])


def test_numbers_drawn_within_undisturbed_leave_no_trace() -> None:
    generators = Generators(CPU)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with generators.preserved():
        torch.rand(100)
    assert torch.equal(torch.rand(2), expected)


def test_without_draws_all_snapshots_share_one_state_and_nothing_is_restored() -> None:
    generators = Generators(CPU)
    for _ in range(1000):
        generators.record()
    assert not generators.changed
    assert len({id(states) for states in generators._snapshots}) == 1
    before = torch.rand(1)
    generators.restore(0)
    assert not torch.equal(torch.rand(1), before)


def test_a_draw_between_snapshots_is_detected() -> None:
    generators = Generators(CPU)
    generators.record()
    torch.rand(1)
    generators.record()
    assert generators.changed
