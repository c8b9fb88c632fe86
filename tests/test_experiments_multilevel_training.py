"""Tests of the experiment on multi-level training: schedules, their work, and refinement of net and optimizer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from experiments.multilevel_training import PRESETS, evaluations_per_epoch, refined, savings, schedules, table
from experiments.support.crossed import crossed_net
from odenet.data import load
from odenet.measure import count_evaluations
from odenet.training import Record
from odenet.training.optimizers import make_optimizer

SMOKE = PRESETS["smoke"]


def work(name: str) -> int:
    """Return the evaluations of a schedule with the paper's cycles and one image per epoch."""
    settings = replace(SMOKE, cycles=(60, 50, 50), training=replace(SMOKE.training, batch_size=1))
    return sum(epochs * evaluations_per_epoch(settings, level, 1) for level, epochs in schedules(settings)[name])


def test_the_schedule_of_the_paper_saves_43_75_percent_of_the_evaluations():
    assert 1 - work("multilevel") / work("deep") == 0.4375
    assert PRESETS["cpu"].work == PRESETS["gpu"].work == 9  # of 16: the same ratio


def test_the_short_training_has_the_work_of_the_multilevel_one():
    assert work("short") == work("multilevel")


def test_deep_and_coarse_have_the_epochs_of_the_multilevel_training_and_the_net_of_its_last_and_first_level():
    named = schedules(replace(SMOKE, cycles=(6, 5, 5)))
    assert named["multilevel"] == [(0, 6), (1, 5), (2, 5)]
    assert named["deep"] == [(2, 6), (2, 5), (2, 5)]
    assert named["coarse"] == [(0, 6), (0, 5), (0, 5)]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_evaluations_of_an_epoch_are_those_that_the_net_counts(level):
    settings = replace(PRESETS["gpu"], widths=(4, 4, 4), training=replace(SMOKE.training, batch_size=4))
    net = crossed_net(settings, load("digits"), settings.blocks * 2**level, settings.blocks)
    counted = 0
    for _ in range(9 // 4):  # the ninth image has no batch
        net(torch.randn(4, 1, 8, 8))
        counted += 4 * count_evaluations(net)
    assert evaluations_per_epoch(settings, level, 9) == counted


def test_a_refinement_doubles_the_layers_and_shares_out_the_momentum():
    net = crossed_net(SMOKE, load("digits"), 2, 1)
    optimizer = make_optimizer(net, SMOKE.training)
    F.cross_entropy(net(torch.randn(4, 1, 8, 8)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    finer, new = refined(net, optimizer)
    finer(torch.randn(1, 1, 8, 8))
    assert count_evaluations(finer) == 2 * count_evaluations(net)
    assert [id(p) for group in new.param_groups for p in group["params"]] == [id(p) for p in finer.parameters()]
    before, after = (
        sum(o.state[p]["momentum_buffer"].sum() for p in m.parameters()) for m, o in ((net, optimizer), (finer, new))
    )
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("cycles", [(5, 5, 5), (6,)])
def test_cycles_whose_work_is_not_whole_epochs_of_the_finest_net_are_refused(cycles):
    with pytest.raises(ValueError, match=r"cycles = \(.* for equal work, in whole epochs: give two or more levels"):
        replace(SMOKE, cycles=cycles)


def record() -> Record:
    results = {
        f"seed{seed}/{name}": {
            "layers": 20,
            "evaluations": evaluations,
            "seconds": seconds,
            "accuracy": 0.9,
            "history": [{}, {}],
        }
        for name, evaluations, times in [("multilevel", 9_000_000, (6.0, 9.0)), ("deep", 16_000_000, (10.0, 10.0))]
        for seed, seconds in enumerate(times)
    }
    return Record("multilevel_training", "", {}, results)


def test_savings_are_counted_against_the_deep_net_of_the_same_seed():
    assert savings(record(), "multilevel", "seconds") == pytest.approx([0.4, 0.1])
    assert savings(record(), "multilevel", "evaluations") == [0.4375] * 2
    multilevel, deep = table(record())
    assert (multilevel["evals saved %"], multilevel["time saved %"]) == ("43.8", "25.0 ± 21.2")
    assert (deep["evals saved %"], deep["time saved %"]) == ("0.0", "0.0 ± 0.0")
    assert (deep["epochs"], deep["F evals (M)"]) == (2, 16.0)
