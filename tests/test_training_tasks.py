"""Every task keeps the contract of the training loop, and each metric and loss has its value."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from odenet.training import Classification, Task


class TaskLaws:
    """Contract of tasks on which the training loop relies."""

    task: Task

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def test_the_headline_is_one_of_the_metrics(self) -> None:
        assert self.task.headline in self.task.metrics()

    def test_the_loss_is_a_scalar_with_a_gradient(self) -> None:
        outputs, targets = self.batch(7)
        loss = self.task.loss(outputs.requires_grad_(), targets)
        loss.backward()
        assert loss.shape == ()
        assert outputs.grad is not None
        assert outputs.grad.abs().sum() > 0

    def test_the_score_of_a_batch_is_the_headline_metric_of_that_batch(self) -> None:
        outputs, targets = self.batch(50)
        metrics = self.task.metrics()
        metrics.update(outputs, targets)
        assert float(self.task.score(outputs, targets)) == pytest.approx(float(metrics.compute()[self.task.headline]))

    def test_metrics_are_new_each_time(self) -> None:
        outputs, targets = self.batch(5)
        self.task.metrics().update(outputs, targets)
        assert not any(metric.update_called for metric in self.task.metrics().values())

    def test_good_targets_pass(self) -> None:
        self.task.check(self.batch(20)[1])

    def test_its_text_says_all_that_it_is(self) -> None:
        assert " at 0x" not in repr(self.task)


class TestClassification(TaskLaws):
    task = Classification(4, label_smoothing=0.1)

    def batch(self, n: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(n, 4, generator=generator), torch.randint(0, 4, (n,), generator=generator)

    def test_the_loss_is_the_cross_entropy_with_the_smoothed_target(self) -> None:
        outputs, targets = self.batch(9)
        q = 0.9 * torch.eye(4)[targets] + 0.1 / 4
        expected = -(q * outputs.log_softmax(dim=1)).sum(dim=1).mean()
        torch.testing.assert_close(self.task.loss(outputs, targets), expected)

    def test_accuracy_counts_every_example_the_same(self) -> None:
        outputs, targets = torch.eye(4)[[0, 0, 0, 1]], torch.tensor([0, 0, 0, 2])
        metrics = self.task.metrics()
        metrics.update(outputs, targets)
        assert float(metrics.compute()["accuracy"]) == 0.75

    @pytest.mark.parametrize("label", [-1, 4])
    def test_a_label_outside_the_classes_is_refused_by_its_value(self, label: int) -> None:
        message = f"labels must be from 0 to 3 for num_classes=4, got {label}: correct the labels"
        with pytest.raises(ValueError, match=message):
            self.task.check(torch.tensor([0, 3, label]))

    @pytest.mark.parametrize("targets", [torch.zeros(3), torch.zeros(3, 2, dtype=torch.int64)])
    def test_targets_that_are_no_class_numbers_are_refused_by_their_shape(self, targets: Tensor) -> None:
        with pytest.raises(ValueError, match=re.escape(f"got {targets.dtype} of shape {tuple(targets.shape)}")):
            self.task.check(targets)

    def test_outputs_for_another_number_of_classes_are_refused_with_both(self) -> None:
        with pytest.raises(ValueError, match=r"shape \(3, 4\), .*, got \(3, 5\): build the network for num_classes=4"):
            self.task.loss(torch.zeros(3, 5), torch.tensor([0, 1, 2]))

    def test_one_class_is_no_choice(self) -> None:
        with pytest.raises(ValueError, match=r"num_classes must be .*, got 1: a choice has at least two classes"):
            Classification(1)

    @pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
    def test_a_smoothing_that_is_no_share_is_refused(self, smoothing: float) -> None:
        with pytest.raises(ValueError, match=f"label_smoothing must be ≥ 0 and < 1, got {smoothing}"):
            Classification(4, label_smoothing=smoothing)

    def test_top_k_accuracy_counts_a_label_among_the_k_largest_even_where_the_first_batch_is_all_right(self) -> None:
        task = Classification(4, top=(2, 3))
        metrics = task.metrics()
        metrics.update(torch.eye(4), torch.arange(4))
        metrics.update(torch.tensor([[4.0, 3.0, 2.0, 1.0]]).expand(4, 4), torch.arange(4))
        values = {name: float(value) for name, value in metrics.compute().items()}
        assert values == {"accuracy": 5 / 8, "top-2 accuracy": 6 / 8, "top-3 accuracy": 7 / 8}

    def test_without_top_the_accuracy_alone_is_measured(self) -> None:
        assert set(Classification(4).metrics()) == {"accuracy"}

    @pytest.mark.parametrize("k", [1, 4])
    def test_a_top_k_that_says_nothing_new_is_refused(self, k: int) -> None:
        with pytest.raises(ValueError, match=f"top must be .*, got {k}: the top 1, and all classes, are no new"):
            Classification(4, top=(k,))
