from __future__ import annotations

import torch

from odenet.blocks.replay.generators import Generators

CPU = torch.device("cpu")


def test_turned_back_to_a_moment_a_generator_draws_what_it_drew_then() -> None:
    generators, drawn = Generators(CPU), []
    for _ in range(3):
        generators.note()
        drawn.append(torch.rand(4))
    generators.note()
    for moment in (2, 0, 1):
        generators.turn_back(moment)
        assert torch.equal(torch.rand(4), drawn[moment])


def test_what_is_drawn_meanwhile_leaves_no_trace() -> None:
    generators = Generators(CPU)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with generators.undisturbed():
        torch.rand(100)
    assert torch.equal(torch.rand(2), expected)


def test_where_nothing_is_drawn_one_state_serves_all_snapshots_and_nothing_is_turned_back() -> None:
    generators = Generators(CPU)
    for _ in range(1000):
        generators.note()
    assert not generators.moved
    assert len({id(states) for states in generators._snapshots}) == 1
    before = torch.rand(1)
    generators.turn_back(0)
    assert not torch.equal(torch.rand(1), before)


def test_it_notices_that_something_was_drawn() -> None:
    generators = Generators(CPU)
    generators.note()
    torch.rand(1)
    generators.note()
    assert generators.moved
