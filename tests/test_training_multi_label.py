"""The multi-label task keeps the contract of tasks, and its precision equals that of scikit-learn."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from odenet.training import Classification, MultiLabel
from tests.test_training_tasks import TaskLaws

CLASSES = ("horse", "church", "person")


class TestMultiLabel(TaskLaws):
    task = MultiLabel(CLASSES)

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(n, 3, generator=generator), torch.randint(0, 2, (n, 3), generator=generator)

    def values(self, *batches: tuple[Tensor, Tensor]) -> dict[str, float]:
        metrics = self.task.metrics()
        for outputs, targets in batches:
            metrics.update(outputs, targets)
        return {name: float(value) for name, value in metrics.compute().items()}

    def test_the_loss_is_the_mean_binary_cross_entropy(self) -> None:
        outputs, targets = self.batch(9)
        chosen = torch.where(targets == 1, outputs.sigmoid(), 1 - outputs.sigmoid())
        torch.testing.assert_close(self.task.loss(outputs, targets), -chosen.log().mean())

    def test_average_precision_is_that_of_scikit_learn_for_each_class_over_all_batches(self) -> None:
        outputs, targets = self.batch(60)
        values = self.values((outputs[:25], targets[:25]), (outputs[25:], targets[25:]))
        expected = np.array([average_precision_score(targets[:, k], outputs[:, k]) for k in range(3)])
        assert [values[f"AP {name}"] for name in CLASSES] == pytest.approx(expected)
        assert values["mAP"] == pytest.approx(expected.mean())

    def test_an_image_counts_where_every_class_is_right(self) -> None:
        outputs = torch.tensor([[1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [-1.0, -1.0, -1.0]])
        targets = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 0]])
        assert self.values((outputs, targets))["subset_accuracy"] == pytest.approx(2 / 3)

    def test_logits_between_0_and_1_are_not_taken_for_probabilities(self) -> None:
        assert self.values((torch.full((4, 3), 0.3), torch.ones(4, 3, dtype=torch.int64)))["subset_accuracy"] == 1

    def test_one_label_an_image_is_refused_and_the_right_task_named(self) -> None:
        message = r"got torch.int64 of shape \(3,\): each of the 3 classes horse, church, person .* Classification"
        with pytest.raises(ValueError, match=message):
            self.task.check(torch.tensor([0, 1, 0]))

    def test_many_labels_given_to_the_task_of_one_are_refused_and_the_right_task_named(self) -> None:
        with pytest.raises(ValueError, match=r"got torch.int64 of shape \(20, 3\).* the task MultiLabel"):
            Classification(3).check(self.batch(20)[1])

    @pytest.mark.parametrize("targets", [torch.ones(2, 3), torch.ones(2, 4, dtype=torch.int64), torch.tensor(1)])
    def test_targets_that_are_no_marks_are_refused_by_their_shape(self, targets: Tensor) -> None:
        with pytest.raises(ValueError, match=re.escape(f"got {targets.dtype} of shape {tuple(targets.shape)}")):
            self.task.check(targets)

    @pytest.mark.parametrize("mark", [-1, 2])
    def test_a_mark_that_is_neither_0_nor_1_is_refused(self, mark: int) -> None:
        with pytest.raises(ValueError, match=rf"targets must be 0 or 1, got {mark}: a class is in an image \(1\)"):
            self.task.check(torch.tensor([[0, 1, mark]]))

    def test_outputs_for_another_number_of_classes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"outputs must have the shape \(2, 3\) of the targets, got \(2, 4\)"):
            self.task.loss(torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.int64))

    def test_no_class_is_no_question(self) -> None:
        with pytest.raises(ValueError, match=r"classes=\(\) is empty: there is no class to predict"):
            MultiLabel(())
