"""A training step gives the numbers of a step written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from odenet.training import launch
from odenet.training.optimizers import make_optimizer
from odenet.training.steps import Steps
from tests.training_cases import SETTINGS, TASK, plain_net, train_batches


@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_step_returns_the_loss_and_score_before_it_and_moves_the_weights(clip: float | None) -> None:
    settings = replace(SETTINGS, gradient_clip=clip)
    net, by_hand = plain_net(), plain_net()
    fabric = launch(settings)
    network, descent = fabric.setup(net, make_optimizer(net, settings))
    steps = Steps(network, descent, TASK, settings, fabric)
    reference: Any = make_optimizer(by_hand, settings)
    for batch in steps.batches(train_batches(), 0, 2):
        loss, score, examples = steps.take(batch)
        x, y = batch
        outputs = by_hand(x)
        expected = F.cross_entropy(outputs, y)
        reference.zero_grad()
        expected.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(by_hand.parameters(), clip)
        reference.step()
        assert torch.equal(loss, expected.detach())
        assert torch.equal(score, (outputs.argmax(1) == y).float().mean())
        assert examples == len(y)
        assert not loss.requires_grad
    assert all(map(torch.equal, net.parameters(), by_hand.parameters()))
