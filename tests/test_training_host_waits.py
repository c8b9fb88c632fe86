"""No step of a training makes the host wait for an accelerator, and it launches no more operations than are needed.

What a GPU would wait for is seen on a CPU by the operations that are dispatched (`tests/host_waits.py`): each path of
the training loop inherits one law. On a GPU, torch itself raises at a wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from odenet import (
    Adaptive,
    Backprop,
    BasicBranch,
    Checkpointed,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Reversible,
    configure,
    group_norm,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.data import Batches, Compose, RandomCrop, RandomErasing, RandomFlip, SceneBatches, Scenes, Split
from odenet.models import ode_net, resnet20, set_stochastic_depth
from odenet.training import Classification, MultiLabel, Segmentation, Task, evaluate, fit, launch, loop
from odenet.training.optimizers import make_optimizer, set_learning_rates
from odenet.training.steps import Steps
from odenet.training.tally import Tally
from tests.host_waits import HostWaits, keep_on_host
from tests.training_cases import SETTINGS


@pytest.fixture(autouse=True)
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the loss as rarely as on an accelerator."""
    monkeypatch.setattr("odenet.blocks.block._is_finite", lambda _: True)
    monkeypatch.setattr("odenet.blocks.gradients.checkpointed.torch.equal", lambda *_: True)
    monkeypatch.setattr("odenet.blocks.per_sample.solve._reading_is_free", lambda _: False)
    monkeypatch.setattr(loop, "_steps_between_reads", lambda _: 50)


def images(n: int, classes: int) -> Split:
    return Split(torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8), torch.arange(n) % classes)


def batches(n: int, classes: int, **options: Any) -> Batches:
    augmentation = Compose(RandomCrop(2), RandomFlip(), RandomErasing(0.5))
    return Batches(images(n, classes), 2, mean=(0.5,) * 3, std=(0.3,) * 3, augmentation=augmentation, **options)


class TrainingPathLaws:
    """Laws of a training path with a network, a task and batches.

    A bound on the operations is that of a count that was made when the path was written, and a tenth: it fails where
    a batch, an augmentation or an optimizer falls into one operation for each image, parameter or scene.
    """

    waits_in_a_step = 0
    operations_in_a_step: int
    settings = SETTINGS
    _seen: HostWaits

    def network(self) -> nn.Module:
        raise NotImplementedError

    def task(self) -> Task:
        return Classification(3)

    def batches(self, number: int, device: str = "cpu") -> Any:
        return batches(2 * number, 3, shuffle=True, seed=1, device=device)

    def seen_in_steps(self, number: int) -> HostWaits:
        """Return the operations of `number` steps of the loop, after a step that initializes the state."""
        torch.manual_seed(0)
        net, task, train = self.network(), self.task(), self.batches(number)
        fabric = launch(self.settings, net)
        network, descent = fabric.setup(net, make_optimizer(net, self.settings))
        steps, tally = Steps(network, descent, task, self.settings, fabric), Tally()
        steps.take(next(iter(train.epoch(0))))
        for state in descent.state.values():  # the step counts of Adam
            keep_on_host(*(value for name, value in state.items() if name == "step"))
        with HostWaits() as seen:
            for batch in steps.batches(train, 1, 0):
                set_learning_rates(descent, [0.1] * len(descent.param_groups))
                tally.add(*steps.take(batch))
        return seen

    def seen_in_two_steps(self) -> HostWaits:
        """Return the operations of two steps, which are taken once for all laws of the path."""
        if "_seen" not in vars(type(self)):
            type(self)._seen = self.seen_in_steps(2)
        return self._seen

    def test_no_step_makes_the_host_wait_more_than_it_must(self) -> None:
        seen = self.seen_in_two_steps()
        assert len(seen.waits) <= 2 * self.waits_in_a_step, seen.waits
        assert len(seen.waits) >= 2 * self.waits_in_a_step
        assert seen.operations > 100

    def test_a_step_launches_no_more_operations_than_are_needed(self) -> None:
        assert self.seen_in_two_steps().operations <= 2 * self.operations_in_a_step

    def test_an_evaluation_waits_as_often_for_many_batches_as_for_few(self) -> None:
        waits: list[list[str]] = []
        for number in (1, 2):
            torch.manual_seed(0)
            net, task, test = self.network(), self.task(), self.batches(number)
            evaluate(net, task, test)
            with HostWaits() as seen:
                evaluate(net, task, test)
            waits.append(seen.waits)
        few, many = map(len, waits)
        assert many <= few + self.waits_in_a_step, waits[1]

    def test_a_whole_training_waits_as_often_for_many_steps_as_for_few(self, tmp_path: Path) -> None:
        waits: list[list[str]] = []
        for number in (1, 2):
            torch.manual_seed(0)
            net, task, train = self.network(), self.task(), self.batches(number)
            settings = replace(self.settings, epochs=1, checkpoint_seconds=3600.0)
            with HostWaits() as seen:
                fit(net, task, train, None, settings, seed=0, folder=tmp_path / str(number), quiet=True)
            # The waits of fingerprints are left out, because these are computed before the training.
            waits.append([wait for wait in seen.waits if not wait.startswith("numpy")])
        few, many = map(len, waits)
        assert many <= few + self.waits_in_a_step, waits[1]


class TestResNet(TrainingPathLaws):
    operations_in_a_step = 580

    def network(self) -> nn.Module:
        return resnet20(num_classes=3)


class TestTopTwoByAdam(TestResNet):
    settings = replace(SETTINGS, optimizer="adamw", gradient_clip=1.0)
    operations_in_a_step = 800

    def task(self) -> Task:
        return Classification(3, top=(2,), label_smoothing=0.1)


class TestSkippedBranches(TrainingPathLaws):
    operations_in_a_step = 580

    def network(self) -> nn.Module:
        net = resnet20(num_classes=3)
        set_stochastic_depth(net, 0.5)
        return net


class TestSkippedBranchesOfSamples(TestSkippedBranches):
    operations_in_a_step = 640

    def network(self) -> nn.Module:
        net = resnet20(num_classes=3)
        set_stochastic_depth(net, 0.5, per="sample")
        return net


class SceneLaws(TrainingPathLaws):
    target = "labels"
    fresh = True

    def batches(self, number: int, device: str = "cpu") -> Any:
        return SceneBatches(Scenes((16, 16)).to(device), 2 * number, 2, target=self.target, fresh=self.fresh)


class TestManyLabels(SceneLaws):
    operations_in_a_step = 1000

    def network(self) -> nn.Module:
        return resnet20(num_classes=4)

    def task(self) -> Task:
        return MultiLabel(Scenes().classes)


class TestSegmentation(SceneLaws):
    target = "semantic"
    operations_in_a_step = 620

    def network(self) -> nn.Module:
        flow = ODEBlock(PiecewiseConstant([BasicBranch(4) for _ in range(2)]))
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), flow, nn.Conv2d(4, 5, 1))

    def task(self) -> Task:
        return Segmentation(5)


class TestWeightedSegmentationOfKeptScenes(TestSegmentation):
    fresh = False
    operations_in_a_step = 240

    def task(self) -> Task:
        return Segmentation(5, ignore_index=0, class_weights=(1.0, 2.0, 3.0, 4.0, 5.0), dice=0.5)


class ODENetLaws(TrainingPathLaws):
    stepping: Stepping
    gradient: GradientMethod

    def network(self) -> nn.Module:
        net = ode_net(num_classes=3, in_channels=3)
        configure(net, stepping=self.stepping, gradient=self.gradient)
        return net


class TestFixedSteps(ODENetLaws):
    stepping, gradient = FixedSteps(Euler(), 4), Backprop()
    operations_in_a_step = 370


class TestInterpolatedTheta(TrainingPathLaws):
    operations_in_a_step = 730

    def network(self) -> nn.Module:
        flow = ODEBlock(PiecewiseLinear([BasicBranch(4, norm=group_norm) for _ in range(3)]), FixedSteps("rk4"))
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), flow, *head)


class TestCheckpointed(ODENetLaws):
    stepping, gradient = FixedSteps(Euler(), 4), Checkpointed()
    operations_in_a_step = 440


class TestReversible(ODENetLaws):
    """The reconstructed x(0) is compared with the input once in each backward pass."""

    stepping, gradient = FixedSteps(Euler(), 4), Reversible()
    waits_in_a_step = 1
    operations_in_a_step = 770


class PerSampleLaws(ODENetLaws):
    """The host reads the state every eight attempts, and these tolerances need fewer."""

    waits_in_a_step = 1
    operations_in_a_step = 3900


class TestPerSample(PerSampleLaws):
    stepping, gradient = Adaptive("dopri5", 1e-2, 1e-2, per_sample=True), Backprop()


class TestPerSampleCheckpointed(PerSampleLaws):
    stepping, gradient = Adaptive("dopri5", 1e-2, 1e-2, per_sample=True), Checkpointed()
    operations_in_a_step = 3900


class TestPerSampleReversible(PerSampleLaws):
    """The host reads the steps, the growth of rounding errors and the drift once each."""

    stepping, gradient = Adaptive("dopri5", 1e-2, 1e-2, per_sample=True), Reversible()
    waits_in_a_step = 3
    operations_in_a_step = 5500


def waits_and_attempts(tolerance: float, budget: int | None, pieces: int) -> tuple[int, int]:
    """Return the waits of a solve with its gradient, and the maximal number of attempts of a sample."""
    torch.manual_seed(0)
    stepping = Adaptive("dopri5", tolerance, tolerance, budget, per_sample=True)
    block = ODEBlock(PiecewiseConstant([MLPBranch(2, 8) for _ in range(pieces)], 3.0), stepping)
    x = torch.randn(5, 2) * torch.tensor([[0.1], [1.0], [9.0], [0.5], [3.0]])
    with HostWaits() as seen:
        block(x).sum().backward()
    report = block.last_solve
    assert report is not None
    return len(seen.waits), int((report.accepted + report.rejected).max())


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-7])
def test_steps_of_each_sample_wait_once_in_eight_attempts(tolerance: float) -> None:
    waits, attempts = waits_and_attempts(tolerance, None, pieces=1)
    assert waits == -(-attempts // 8)


def test_several_pieces_wait_once_more_each() -> None:
    waits, attempts = waits_and_attempts(1e-4, None, pieces=4)
    assert 4 <= waits <= attempts // 8 + 4


@pytest.mark.filterwarnings("ignore:dopri5 stopped")
def test_only_a_warning_of_samples_that_stopped_waits_for_what_it_says() -> None:
    waits, attempts = waits_and_attempts(1e-7, 60, pieces=1)
    assert waits <= -(-attempts // 8) + 8


def test_a_torchdiffeq_solve_waits_at_every_step_as_its_documentation_says() -> None:
    class Adjoint(TrainingPathLaws):
        def network(self) -> nn.Module:
            net = ode_net(num_classes=3, in_channels=3)
            configure(net, stepping=Adaptive("dopri5", 1e-3, 1e-3), gradient=ContinuousAdjoint())
            return net

    assert len(Adjoint().seen_in_steps(1).waits) > 100


@contextmanager
def waits_are_errors() -> Iterator[None]:
    """Make torch raise an error if the host waits for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


ON_A_GPU = [
    TestResNet,
    TestTopTwoByAdam,
    TestSkippedBranches,
    TestSkippedBranchesOfSamples,
    TestManyLabels,
    TestSegmentation,
    TestWeightedSegmentationOfKeptScenes,
    TestFixedSteps,
    TestInterpolatedTheta,
    TestCheckpointed,
]


@pytest.mark.gpu
@pytest.mark.parametrize("path", ON_A_GPU)
def test_on_a_gpu_twenty_steps_do_not_make_the_host_wait(path: type[TrainingPathLaws]) -> None:
    laws = path()
    net, task, train = laws.network().cuda(), laws.task(), laws.batches(23, "cuda")
    settings = replace(laws.settings, device="cuda")
    fabric = launch(settings, net)
    network, descent = fabric.setup(net, make_optimizer(net, settings))
    steps, tally = Steps(network, descent, task, settings, fabric), Tally()
    every = iter(steps.batches(train, 0, 0))
    for _ in range(3):
        steps.take(next(every))
    with waits_are_errors():
        for batch in every:
            set_learning_rates(descent, [0.1] * len(descent.param_groups))
            tally.add(*steps.take(batch))
    assert tally.settle() is None
    assert tally.examples == 2 * 20
