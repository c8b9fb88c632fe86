"""The training loop, the one of every experiment: θ ← θ - η·∇ℓ with checks, checkpoints and a history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import nn, optim

from odenet.blocks.annotations import Inside, Seed, Whole
from odenet.blocks.arguments import checked
from odenet.blocks.errors import NonFiniteState
from odenet.data.seeds import seeded_generator
from odenet.measure.mode import as_in_training
from odenet.training.arguments import (
    require_batches,
    require_float32,
    require_folder,
    require_kind,
    require_model,
    require_optimizer,
    require_same_device,
    require_task,
)
from odenet.training.batches import BatchSource
from odenet.training.checkpoints import Checkpoint
from odenet.training.compiled import compiled
from odenet.training.devices import launch, skips_branches, threads_kept
from odenet.training.evaluation import evaluate
from odenet.training.graphs import CudaGraph, GraphedSteps, can_be_graphs
from odenet.training.history import History
from odenet.training.identity import identity_of
from odenet.training.json_data import Plain
from odenet.training.optimizers import (
    capturable,
    learning_rates,
    make_optimizer,
    rates_kept,
    require_optimizer_of,
    set_learning_rates,
)
from odenet.training.progress import show_progress
from odenet.training.randomness import deterministic_algorithms, random_numbers_kept, seed_everything
from odenet.training.schedules import Schedule
from odenet.training.settings import Training
from odenet.training.state import TrainingState
from odenet.training.steps import Steps
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@checked
def fit(
    model: Annotated[nn.Module, Inside()],
    task: Annotated[Task, Inside()],
    train: BatchSource,
    test: BatchSource | None,
    settings: Annotated[Training, Inside()],
    *,
    seed: Whole,
    folder: Annotated[str | PathLike[str], Inside()],
    optimizer: Annotated[optim.Optimizer | None, Inside()] = None,
    context: Plain = None,
    label: Annotated[str, Inside()] = "",
    quiet: Annotated[bool, Inside()] = False,
) -> History:
    """Train `model` in place, from where the checkpoint in `folder` left off if there is one.

    On a CPU the outcome, weights and history, is a function of the arguments, bit for bit, however often the process
    was killed and started again. A training that is complete is not run again: its weights and history are read. It
    goes on with the same data, batches, initial weights and settings alone; with others, the checkpoint is refused. So
    build the network anew, under its seed, to go on with a training that was interrupted.

    Args:
        model: The network. Parts in evaluation mode are trained in it: their statistics and dropout are frozen. A model
            that is in evaluation mode as a whole is put into training mode. Afterwards it is on the device of the
            training, with `channels_last` in that layout of memory, and each module in the mode that it was in.
        task: Loss and metrics.
        train: Training batches, on the device `launch(settings).device`, with its rank and number of processes.
        test: Test batches, evaluated after every epoch; `None` for none.
        settings: How to train.
        seed: Of dropout and other noise in the network; weights and batches have their own. Afterwards the global
            generators, and the number of threads, are as before.
        folder: Of the checkpoint; one for each training.
        optimizer: Of the parameters of `model`, with the momentum of an earlier training, from which it goes on; holds
            afterwards what this one leaves, at the learning rates that it had. The rate of each of its parameter groups
            is the peak of that group's schedule, in the place of the `lr` of `settings`, whose `optimizer`, `momentum`,
            `weight_decay` and `decay` do not concern it either; the `lr` of a row is that of the first group. By
            default, a new one as `settings` name it.
        context: Plain data on which the outcome depends too, such as the settings of an experiment.
        label: What progress calls the training.
        quiet: Whether to show no progress.

    Raises:
        TypeError: An argument is of another kind, such as a DataLoader for batches, or batches hold what cannot be
            compared with those of another time.
        ValueError: Labels lie outside the task, the optimizer is that of another model, batches are on another device,
            or settings cannot be met on this machine.
        CheckpointError: The checkpoint in `folder` cannot be read, or is that of another training.
        CannotWrite: The disk is full, or `folder` cannot be written.
        NonFiniteLoss: The training diverged. On a CPU the model's blocks may say `NonFiniteState` before.
    """
    _check(model, task, train, test, settings, seed, folder, optimizer, label, quiet)
    descends = make_optimizer(model, settings) if optimizer is None else optimizer
    with threads_kept(), as_in_training(model), rates_kept(descends) as peaks:
        fabric = launch(settings, model)
        for name, batches in _present(train, test).items():
            require_same_device(name, batches, fabric.device)
        counted: dict[str, Any] = {"seed": seed, "processes": fabric.world_size, "context": context}
        # That of the main process: the others differ in their share of the batches.
        identity = fabric.broadcast(identity_of(model, task, train, test, settings, optimizer=optimizer, **counted))
        checkpoint = Checkpoint(Path(folder) / "checkpoint.pt", identity, settings.checkpoint_seconds)
        called = compiled(model, fabric.device) if settings.compile else nullcontext(model)
        with random_numbers_kept(fabric.device), called as network:
            _seed(model, seed, fabric)
            given = (model, network, task, train, test, settings, descends, peaks, fabric, checkpoint, label)
            rows = _fit(*given, quiet=quiet)
    return History(task.headline, rows, identity["made_from"])


def _fit(
    model: Annotated[nn.Module, Inside()],
    called: nn.Module,
    task: Annotated[Task, Inside()],
    train: BatchSource,
    test: BatchSource | None,
    settings: Training,
    optimizer: optim.Optimizer,
    peaks: Sequence[float],
    fabric: Fabric,
    checkpoint: Checkpoint,
    label: str,
    *,
    quiet: bool,
) -> list[dict[str, float]]:
    """The training itself, in the modes that `model` has.

    `called` is what computes its outputs, and `peaks` are the learning rates of the parameter groups.
    """
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    learning_rate = Schedule(settings, steps=settings.epochs * len(train))
    network, descent = fabric.setup(called, optimizer)

    state = TrainingState(model, optimizer, fabric)
    if (saved := checkpoint.read()) is not None:
        state.restore(saved, str(checkpoint))
    look_every = _steps_between_looks(fabric)
    complete = state.epoch == settings.epochs
    show = show_progress(label, state.steps(len(train)), learning_rate.steps, quiet=quiet or complete)
    eager = Steps(network, descent, task, settings, fabric)

    with (
        deterministic_algorithms(settings.deterministic),
        _noting_the_place(state),
        _graphed(eager, train, model, optimizer, wanted=settings.cuda_graph and not complete) as steps,
        show as progress,
    ):
        while state.epoch < settings.epochs:
            state.start_clock()
            for batch in steps.batches(train, state.epoch, state.step):
                now = state.steps(len(train))
                set_learning_rates(optimizer, [learning_rate(now, peak) for peak in peaks])
                state.count(*steps.take(batch))

                if state.step % look_every == 0 or state.step == len(train):
                    state.settle()  # a loss that is not finite ends the training here
                    progress.step(state.steps(len(train)), _facts(state, task, settings))
                    if fabric.broadcast(checkpoint.due):
                        _save(state, checkpoint)
                    state.start_clock()

            after = evaluate(network, task, test) if test is not None else {}
            state.close_epoch(_row(state, task, after))
            if fabric.broadcast(checkpoint.due) or state.epoch == settings.epochs:
                _save(state, checkpoint)
            progress.epoch(state.steps(len(train)), _facts_of_row(state, task, settings))
    return state.rows


def _check(
    model: Annotated[nn.Module, Inside()],
    task: Annotated[Task, Inside()],
    train: BatchSource,
    test: BatchSource | None,
    settings: Training,
    seed: Seed,
    folder: str | PathLike[str],
    optimizer: optim.Optimizer | None,
    label: str,
    quiet: bool,
) -> None:
    """Refuse arguments of another kind than is meant, before anything is done."""
    require_model(model)
    require_float32(model)
    require_task(task)
    require_kind("settings", settings, Training, "a Training", "pass Training(epochs=…, …)")
    require_optimizer(optimizer)
    require_folder(folder)
    require_kind("label", label, str, "a string", "it is the name of the training in the display of progress")
    require_kind("quiet", quiet, bool, "True or False", "it switches the display of progress off")
    seeded_generator(seed, "check")
    for name, batches in _present(train, test).items():
        require_batches(name, batches)
        task.check(batches.split.labels)
    if optimizer is not None:
        require_optimizer_of(model, optimizer)


def _present(train: BatchSource, test: BatchSource | None) -> dict[str, BatchSource]:
    return {"train": train} | ({} if test is None else {"test": test})


def _seed(model: nn.Module, seed: int, fabric: Fabric) -> None:
    """Every process draws its own numbers; but which branches a batch skips, drawn on the CPU, is the same for all."""
    own, first = (seeded_generator(seed, "training", rank).initial_seed() for rank in (fabric.global_rank, 0))
    seed_everything(own)  # also the generators of accelerators, where dropout draws
    if skips_branches(model):
        torch.default_generator.manual_seed(first)


def _steps_between_looks(fabric: Fabric) -> int:
    """On an accelerator, or between processes, a look at the loss makes everybody wait; one process on a CPU may."""
    return 1 if fabric.device.type == "cpu" and fabric.world_size == 1 else 50


def _save(state: TrainingState, checkpoint: Checkpoint) -> None:
    content = state.to_json_data()  # every process gives its part
    if state.fabric.is_global_zero:
        checkpoint.write(content)


def _row(state: TrainingState, task: Task, after: dict[str, float]) -> dict[str, float]:
    loss, score = state.tally.means(state.fabric)
    tested = {f"test_{name}": value for name, value in after.items()}
    lr = learning_rates(state.optimizer)[0]
    head = {"epoch": state.epoch + 1, "lr": lr, "train_loss": loss, f"train_{task.headline}": score}
    return head | tested | {"seconds": state.seconds}


def _facts(state: TrainingState, task: Task, settings: Training) -> str:
    loss, score = state.tally.means()
    return f"epoch {state.epoch + 1}/{settings.epochs}  loss {loss:.3f}  {task.headline} {score:.3f}"


def _facts_of_row(state: TrainingState, task: Task, settings: Training) -> str:
    row, tested = state.rows[-1], f"test_{task.headline}"
    facts = {"loss": row["train_loss"], task.headline: row[f"train_{task.headline}"]}
    facts |= {"test": row[tested]} if tested in row else {}
    return f"epoch {state.epoch}/{settings.epochs}  " + "  ".join(
        f"{name} {value:.3f}" for name, value in facts.items()
    )


@contextmanager
def _graphed(
    steps: Steps, train: BatchSource, model: nn.Module, optimizer: optim.Optimizer, *, wanted: bool
) -> Iterator[Steps | GraphedSteps]:
    """Give the steps as CUDA graphs if that is wanted and possible, else as they are."""
    if not wanted or not can_be_graphs(model, optimizer, steps.fabric):
        yield steps
        return
    with capturable(optimizer, steps.fabric.device):
        yield GraphedSteps(steps, train, CudaGraph)


@contextmanager
def _noting_the_place(state: TrainingState) -> Iterator[None]:
    """A block knows at which t its state was lost; this adds in which epoch and step."""
    try:
        yield
    except NonFiniteState as error:
        error.add_note(f"in epoch {state.epoch + 1}, after {state.step} of its steps")
        raise
