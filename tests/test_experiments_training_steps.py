"""Tests of the costs of a training step: evaluations are counted in each pass, also after an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.support.training_steps import EvaluationCounts, costs, counted, step
from odenet import RK4, Adaptive, Backprop, Checkpointed, ContinuousAdjoint, FixedSteps, configure
from odenet.blocks.gradients.base import GradientMethod
from odenet.data import load
from odenet.measure import count_evaluations
from odenet.models import ode_net, res_net
from odenet.models.odenet import FlowClassifier
from odenet.training import Classification, Training, fit

IMAGES, LABELS = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])


def net(gradient: GradientMethod | None = None) -> FlowClassifier:
    torch.manual_seed(0)
    return ode_net(num_classes=3, channels=4, gradient=gradient)


def test_backprop_evaluates_nothing_again():
    model = net(Backprop())
    with configure(model, stepping=FixedSteps(RK4(), 2)), counted(model, 3) as counts:
        step(model, IMAGES, LABELS)
        step(model, IMAGES, LABELS)
    assert counts.rows == [[8, 0], [8, 0]]


def test_checkpoints_evaluate_the_steps_again_and_the_adjoint_evaluates_on_the_way_back():
    model = net(Checkpointed())
    with configure(model, stepping=FixedSteps(RK4(), 2)), counted(model, 1) as counts:
        step(model, IMAGES, LABELS)
    assert counts.rows == [[8, 8]]
    with configure(model, stepping=FixedSteps(RK4(), 2), gradient=ContinuousAdjoint()), counted(model, 1) as counts:
        step(model, IMAGES, LABELS)
    assert counts.rows == [[8, 8]]


def test_under_error_control_the_evaluations_forwards_are_those_of_the_block():
    for gradient in (ContinuousAdjoint(), Checkpointed()):
        model = net(gradient)
        with configure(model, stepping=Adaptive("dopri5", 1e-4, 1e-4)), counted(model, 1) as counts:
            step(model, IMAGES, LABELS)
        ((forward, backward),) = counts.rows
        assert forward == count_evaluations(model) > 0
        assert backward > 0


def test_counting_is_of_training_alone_and_leaves_no_trace():
    model = net()
    names, hooks = list(model.state_dict()), len(model._forward_pre_hooks)
    with counted(model, 1) as counts:
        model.eval()(IMAGES)
    assert counts.rows == []
    step(model, IMAGES, LABELS)
    assert counts.rows == []
    assert list(model.state_dict()) == names
    assert len(model._forward_pre_hooks) == hooks


def test_a_net_without_a_flow_evaluates_nothing():
    model = FlowClassifier(nn.Identity(), 3, 1, 4)
    with counted(model, 2) as counts:
        step(model, IMAGES, LABELS)
        step(model, IMAGES, LABELS)
    assert counts.per_epoch(2) == {"forward": [0.0, 0.0], "backward": [0.0, 0.0]}


def test_the_counts_of_an_epoch_are_means_over_its_steps():
    counts = EvaluationCounts(net(), 4)
    counts.rows = [[8, 10], [10, 20], [20, 1], [30, 2]]
    assert counts.per_epoch(2) == {"forward": [9.0, 25.0], "backward": [15.0, 1.5]}


def test_a_training_read_back_from_its_checkpoint_has_its_counts(tmp_path: Path):
    data = load("digits", train_images=16)
    batches, settings = data.train_batches(8, augment=False), Training(epochs=2, batch_size=8, threads=1)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        model = ode_net(channels=4)
        with counted(model, 4) as counts:
            fit(model, Classification(10), batches, None, settings, seed=0, folder=tmp_path, quiet=True)
        found.append(counts.rows)
    assert found[0] == found[1]
    assert len(found[0]) == 4
    assert min(min(row) for row in found[0]) > 0


def test_steps_to_come_are_no_steps_of_no_evaluations():
    counts, other = EvaluationCounts(net(), 3), EvaluationCounts(net(), 3)
    counts.rows = [[14, 14], [0, 0]]
    other.set_extra_state(counts.get_extra_state())
    assert other.rows == counts.rows
    assert other.get_extra_state().shape == (3, 2)


def test_costs_are_those_of_each_net_and_a_flow_of_more_layers_keeps_more():
    nets = {f"{blocks}": res_net(num_classes=3, channels=4, blocks=blocks) for blocks in (1, 4)}
    found = costs(nets, IMAGES, LABELS, repetitions=2)
    assert found["flow_bytes"]["1"] < found["flow_bytes"]["4"] < found["bytes"]["4"]
    assert [len(found["seconds"][name]) for name in nets] == [2, 2]


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_a_step_leaves_the_gradient_of_its_loss_alone(gradient: GradientMethod):
    model = net(gradient)
    with configure(model, stepping=FixedSteps(RK4())):
        step(model, IMAGES, LABELS)
        once = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        step(model, IMAGES, LABELS)
    assert len(once) == len(list(model.parameters()))
    assert all(torch.equal(a, p.grad) for a, p in zip(once, model.parameters(), strict=True) if p.grad is not None)
