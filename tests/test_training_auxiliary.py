"""Classification with auxiliary classifiers keeps the contract of tasks, and its loss is the weighted sum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet.data import Batches, Split
from odenet.models import GoogLeNetOutput
from odenet.training import AuxiliaryClassification, Classification, Training, evaluate, fit
from tests.test_training_tasks import TestClassification as ClassificationLaws


class WithAuxiliaries(nn.Module):
    """Network with the outputs of GoogLeNet and few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(16, 4) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutput:
        logits = [head(x.flatten(1)) for head in self.heads]
        return GoogLeNetOutput(*logits) if self.training else logits[0]


def outputs() -> GoogLeNetOutput:
    generator = torch.Generator().manual_seed(0)
    return GoogLeNetOutput(*(torch.randn(9, 4, generator=generator) for _ in range(3)))


TARGETS = torch.arange(9) % 4


class TestAuxiliaryClassification(ClassificationLaws):
    """On plain logits the task equals `Classification`."""

    task = AuxiliaryClassification(4, label_smoothing=0.1)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_auxiliary_losses_count_with_the_weight(weight: float) -> None:
    own, *beside = (Classification(4).loss(logits, TARGETS) for logits in outputs())
    loss = AuxiliaryClassification(4, weight=weight).loss(outputs(), TARGETS)
    assert torch.equal(loss, own + weight * (beside[0] + beside[1]))


def test_the_weight_is_the_papers_if_nothing_is_said() -> None:
    assert AuxiliaryClassification(10).weight == 0.3


def test_the_score_is_that_of_the_nets_own_logits() -> None:
    answers = outputs()
    right = GoogLeNetOutput(nn.functional.one_hot(TARGETS, 4).float(), answers.auxiliary_4a, answers.auxiliary_4d)
    assert float(AuxiliaryClassification(4).score(right, TARGETS)) == 1.0
    assert AuxiliaryClassification(4).score(answers, TARGETS) == Classification(4).score(answers.logits, TARGETS)


def test_evaluation_is_that_of_a_classification() -> None:
    images = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches, net = Batches(Split(images, torch.arange(30) % 4), 8, mean=[0.5], std=[0.3]), WithAuxiliaries()
    assert evaluate(net, AuxiliaryClassification(4), batches) == evaluate(net, Classification(4), batches)


def test_auxiliary_logits_for_another_number_of_classes_are_refused() -> None:
    bad = outputs()._replace(auxiliary_4d=torch.zeros(9, 5))
    with pytest.raises(ValueError, match=r"shape \(9, 4\), .*, got \(9, 5\): build the network for num_classes=4"):
        AuxiliaryClassification(4).loss(bad, TARGETS)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_a_weight_that_is_negative_or_not_finite_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=f"weight must be ≥ 0 and finite, got {weight}"):
        AuxiliaryClassification(4, weight=weight)


def test_the_bounds_of_a_classification_are_checked_too() -> None:
    with pytest.raises(ValueError, match=r"num_classes must be .*, got 1"):
        AuxiliaryClassification(1)


def test_the_loop_trains_and_scores_a_net_with_auxiliary_classifiers(tmp_path) -> None:
    images = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = Batches(Split(images, torch.arange(30) % 4), 10, mean=[0.5], std=[0.5])
    settings = Training(epochs=1, batch_size=10, device="cpu", threads=1)
    history = fit(
        WithAuxiliaries(), AuxiliaryClassification(4), batches, batches, settings, seed=0, folder=tmp_path, quiet=True
    )
    assert {"train_loss", "train_accuracy", "test_accuracy"} <= history.last.keys()
