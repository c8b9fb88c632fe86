"""Captured training steps give the weights and losses of eager steps, whatever changes from step to step."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from odenet import (
    Adaptive,
    BasicBranch,
    Checkpointed,
    ContinuousAdjoint,
    FixedSteps,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    StochasticDepth,
)
from odenet.data import Batches, Compose, RandomCrop, RandomErasing, RandomFlip, SceneBatches, Scenes
from odenet.training import Classification, Detection, History, MultiLabel, Segmentation, Training, fit, loop
from odenet.training.graphs import WARM_UP, CudaGraph, GraphWarning, can_be_graphs
from odenet.training.optimizers import capturable, graph_options, make_optimizer, plain_state
from tests.recorded_graph import RecordedGraph
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, plain_net, train_batches, without_clock

AUGMENTATION = Compose(RandomCrop(1), RandomFlip(), RandomErasing(0.5))
LONG = replace(SETTINGS, epochs=WARM_UP + 2, cuda_graph=True)
"""Epochs of four batches and a smaller one: both sizes are captured and replayed, more than once."""

Made = list[Any]


class Repeated:
    """Graph without capture, which runs the Python code of the step again."""

    def warm_up(self, step: Callable[[], None]) -> None:
        step()

    def capture(self, step: Callable[[], None]) -> None:
        self.replay = step


def with_graphs(monkeypatch: pytest.MonkeyPatch, graph: Callable[[], Any]) -> Made:
    """Make `fit` capture steps by such graphs on this CPU; return the graphs that it makes."""
    made: Made = []

    def make() -> Any:
        made.append(graph())
        return made[-1]

    monkeypatch.setattr(loop, "can_be_graphs", lambda *_: True)
    monkeypatch.setattr(loop, "CudaGraph", make)
    return made


def noisy_batches(**options: Any) -> Batches:
    return train_batches(augmentation=AUGMENTATION, **options)


def trained(net: nn.Module, settings: Training, folder: Path, **options: Any) -> tuple[nn.Module, History]:
    batches = noisy_batches()
    history = fit(net, TASK, batches, evaluation_batches(), settings, seed=5, folder=folder, quiet=True, **options)
    return net, history


def require_equal(a: tuple[nn.Module, History], b: tuple[nn.Module, History], *, case: str = "") -> None:
    for name, tensor in a[0].state_dict().items():
        assert torch.equal(tensor, b[0].state_dict()[name]), (case, name)
    assert without_clock(a[1].rows) == without_clock(b[1].rows), case


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "schedule": "cosine", "gradient_clip": 0.05},
        {"optimizer": "adam", "lr": 0.01, "schedule": "steps"},
        {"optimizer": "adamw", "lr": 0.01, "decay": "weights"},
        {"channels_last": True, "precision": "bf16-mixed"},
    ],
)
def test_a_captured_step_gives_the_weights_and_losses_of_the_step_itself(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, found = replace(LONG, **changes), list[tuple[nn.Module, History]]()
    for graph in (Repeated, RecordedGraph):
        made = with_graphs(monkeypatch, graph)
        found.append(trained(noisy_net(), settings, tmp_path / graph.__name__))
    require_equal(*found)
    counts = [(graph.warmed_up, graph.captured, graph.replayed) for graph in made]
    assert counts == [(WARM_UP, 1, LONG.epochs * 4 - WARM_UP), (WARM_UP, 1, LONG.epochs - WARM_UP)]


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"optimizer": "adam", "lr": 0.01}, {"gradient_clip": 0.05}])
def test_a_training_with_graphs_is_one_without_to_rounding(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_graphs(monkeypatch, RecordedGraph)
    ours = trained(plain_net(), replace(LONG, **changes), tmp_path / "graphs")
    theirs = trained(plain_net(), replace(LONG, **changes, cuda_graph=False), tmp_path / "none")
    torch.testing.assert_close(ours[0].state_dict(), theirs[0].state_dict(), rtol=1e-3, atol=1e-5)
    assert ours[1].column("train_loss") == pytest.approx(theirs[1].column("train_loss"), rel=1e-4)


class Copied:
    """Batches without `numbers`, like those that a user defines."""

    def __init__(self, batches: Batches) -> None:
        self.wrapped, self.split = batches, batches.split

    def __len__(self) -> int:
        return len(self.wrapped)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        return self.wrapped.epoch(epoch, start)


def test_batches_of_a_users_own_are_copied_to_where_the_graph_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_graphs(monkeypatch, RecordedGraph)
    found = [noisy_net(), noisy_net()]
    for net, batches in zip(found, (noisy_batches(), Copied(noisy_batches())), strict=True):
        folder = tmp_path / type(batches).__name__
        fit(net, TASK, batches, None, LONG, seed=5, folder=folder, quiet=True)
    assert all(map(torch.equal, found[0].state_dict().values(), found[1].state_dict().values()))


def scene_net(target: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    flow = ODEBlock(PiecewiseConstant([BasicBranch(4) for _ in range(2)]), noise=StochasticDepth(0.7, per="sample"))
    head = [nn.Conv2d(4, classes, 1)]
    pooled = [] if target == "semantic" else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), flow, *head, *pooled)


@pytest.mark.parametrize("target", ["labels", "semantic"])
@pytest.mark.parametrize("fresh", [False, True])
def test_scenes_are_painted_within_the_graph(
    target: str, fresh: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = Scenes((12, 16))
    task = MultiLabel(scenes.classes) if target == "labels" else Segmentation(1 + len(scenes.classes))
    batches, found = SceneBatches(scenes, 8, 2, target=target, fresh=fresh), list[tuple[nn.Module, History]]()
    for graph in (Repeated, RecordedGraph):
        made = with_graphs(monkeypatch, graph)
        net = scene_net(target, 4 if target == "labels" else 5)
        settings = replace(LONG, epochs=2, batch_size=2)
        folder = tmp_path / graph.__name__
        found.append((net, fit(net, task, batches, None, settings, seed=5, folder=folder, quiet=True)))
    require_equal(*found)
    assert [graph.replayed for graph in made] == [8 - WARM_UP]


@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_a_training_with_graphs_goes_on_from_its_checkpoint_bit_for_bit(
    optimizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, count = replace(LONG, optimizer=optimizer, lr=0.01), loop.TrainingState.count
    with_graphs(monkeypatch, RecordedGraph)
    whole = trained(noisy_net(), settings, tmp_path / "whole")

    class Stopped(Exception):  # noqa: N818
        pass

    for after in (2, 9, 22):  # while it warms up, after the capture of large batches, after that of small ones
        calls = itertools.count(1)

        def stopping(state: Any, *step: Any, after: int = after, calls: Iterator[int] = calls) -> None:
            if next(calls) == after:
                raise Stopped
            count(state, *step)

        folder = tmp_path / f"stopped after {after}"
        monkeypatch.setattr(loop.TrainingState, "count", stopping)
        with pytest.raises(Stopped):
            trained(noisy_net(), settings, folder)
        monkeypatch.setattr(loop.TrainingState, "count", count)
        require_equal(whole, trained(noisy_net(), settings, folder), case=folder.name)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
def test_an_optimizer_has_its_own_options_after_its_steps_were_captured_and_in_checkpoints(name: Any) -> None:
    net = plain_net()
    optimizer = make_optimizer(net, replace(SETTINGS, optimizer=name, lr=0.01))
    before = graph_options(optimizer)
    with capturable(optimizer, torch.device("cpu")):
        assert all(isinstance(group["lr"], Tensor) and group["fused"] for group in optimizer.param_groups)
        net(torch.ones(2, 1, 4, 4)).sum().backward()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            optimizer.step()
        saved = plain_state(optimizer, before)["param_groups"]
    for options in (graph_options(optimizer)[0], {key: saved[0][key] for key in before[0]}):
        assert isinstance(options["lr"], float)
        assert options == before[0] | {"lr": pytest.approx(0.01)}
    optimizer.step()


def test_an_optimizer_whose_rate_is_a_tensor_keeps_a_tensor() -> None:
    optimizer = optim.SGD(plain_net().parameters(), lr=torch.tensor(0.25))
    with capturable(optimizer, torch.device("cpu")):
        saved = plain_state(optimizer, graph_options(optimizer))["param_groups"]
    assert isinstance(saved[0]["lr"], Tensor)
    assert torch.equal(optimizer.param_groups[0]["lr"], torch.tensor(0.25))


def block(**axes: Any) -> nn.Module:
    return nn.Sequential(ODEBlock(PiecewiseConstant([BasicBranch(2) for _ in range(2)]), **axes))


def on(device: str, processes: int = 1) -> Any:
    return SimpleNamespace(device=torch.device(device), world_size=processes)


@pytest.mark.parametrize(
    ("net", "fabric", "why"),
    [
        (block(), on("cpu"), "the training runs on 'cpu', and graphs need CUDA"),
        (block(), on("cuda", 2), "2 processes exchange gradients"),
        (block(stepping=Adaptive()), on("cuda"), r"ODEBlock has the stepping Adaptive\(.*reads the error"),
        (block(stepping=Adaptive(per_sample=True)), on("cuda"), "per_sample=True.*reads the error"),
        (
            block(gradient=ContinuousAdjoint()),
            on("cuda"),
            r"gradient ContinuousAdjoint\(\).*controls the backward",
        ),
        (block(gradient=Checkpointed()), on("cuda"), r"the gradient Checkpointed\(\)"),
        (block(gradient=Reversible()), on("cuda"), r"the gradient Reversible\(\)"),
        (block(noise=StochasticDepth(0.5)), on("cuda"), "by batch skips other branches.*per='sample' does not"),
    ],
)
def test_a_step_that_cannot_be_captured_is_taken_eagerly_with_a_warning_that_says_why(
    net: nn.Module, fabric: Any, why: str
) -> None:
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    with pytest.warns(
        GraphWarning, match=f"cuda_graph=True was asked for; .*{why}.*with the same results.*cuda_graph=False"
    ):
        assert not can_be_graphs(net, optimizer, fabric, Classification(2))


def test_a_block_with_graphs_of_its_own_and_an_unknown_optimizer_are_named() -> None:
    net = block()
    net[0].compiled = "reduce-overhead"  # type: ignore[index]
    with pytest.warns(GraphWarning, match="compiled to CUDA graphs of its own"):
        assert not can_be_graphs(net, optim.SGD(net.parameters(), lr=0.1), on("cuda"), Classification(2))
    with pytest.warns(GraphWarning, match="in a step of the task Detection the host looks at the objects of every"):
        assert not can_be_graphs(block(), optim.SGD(net.parameters(), lr=0.1), on("cuda"), Detection(("a",)))
    with pytest.warns(GraphWarning, match="the step of RMSprop is not known to be capturable"):
        assert not can_be_graphs(block(), optim.RMSprop(net.parameters(), lr=0.1), on("cuda"), Classification(2))


@pytest.mark.parametrize(
    "net", [noisy_net(), block(stepping=FixedSteps()), block(noise=StochasticDepth(0.5, per="sample"))]
)
def test_steps_in_which_nothing_waits_for_the_host_can_be_captured(net: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert can_be_graphs(net, optim.SGD(net.parameters(), lr=0.1), on("cuda"), Classification(2))


def test_on_a_cpu_a_training_that_asks_for_graphs_says_so_and_gives_the_same_weights(tmp_path: Path) -> None:
    with pytest.warns(GraphWarning, match="graphs need CUDA"):
        ours = trained(noisy_net(), replace(SETTINGS, cuda_graph=True), tmp_path / "asked")
    require_equal(ours, trained(noisy_net(), SETTINGS, tmp_path / "not"))


class Unfit(RecordedGraph):
    """Graph whose capture fails as that of CUDA does."""

    def capture(self, step: Callable[[], None]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more of it")


def test_a_step_that_cannot_be_captured_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_graphs(monkeypatch, Unfit)
    said = r"cannot be captured \(operation not permitted when stream is capturing\): nothing in it.*cuda_graph=False"
    with pytest.raises(ValueError, match=said):
        trained(noisy_net(), LONG, tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam", "lr": 0.01}, {"gradient_clip": 0.05}])
def test_on_a_gpu_a_captured_step_gives_the_weights_of_the_step_itself(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, found = replace(LONG, **changes, device="cuda", deterministic=True), list[tuple[nn.Module, History]]()
    for graph in (Repeated, CudaGraph):
        monkeypatch.setattr(loop, "CudaGraph", graph)
        net, batches = noisy_net(), noisy_batches(device="cuda")
        folder = tmp_path / graph.__name__
        found.append((net, fit(net, TASK, batches, None, settings, seed=5, folder=folder, quiet=True)))
    require_equal(*found)


@pytest.mark.gpu
@pytest.mark.parametrize("target", ["labels", "semantic"])
def test_on_a_gpu_scenes_are_painted_within_the_graph(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = Scenes((12, 16)).to("cuda")
    task = MultiLabel(scenes.classes) if target == "labels" else Segmentation(1 + len(scenes.classes))
    batches, found = SceneBatches(scenes, 8, 2, target=target, fresh=True), list[tuple[nn.Module, History]]()
    for graph in (Repeated, CudaGraph):
        monkeypatch.setattr(loop, "CudaGraph", graph)
        net = scene_net(target, 4 if target == "labels" else 5)
        settings = replace(LONG, epochs=2, batch_size=2, device="cuda")
        folder = tmp_path / graph.__name__
        found.append((net, fit(net, task, batches, None, settings, seed=5, folder=folder, quiet=True)))
    torch.testing.assert_close(found[0][0].state_dict(), found[1][0].state_dict(), rtol=1e-4, atol=1e-5)
