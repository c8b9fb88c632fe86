"""Training loop of all experiments: θ ← θ - η·∇ℓ, with validation, checkpoints and a history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from odenet.training.callbacks import Callback, Observers
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
    require_depth_rule,
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
    validation: BatchSource | None = None,
    optimizer: Annotated[optim.Optimizer | None, Inside()] = None,
    context: Plain = None,
    label: Annotated[str, Inside()] = "",
    quiet: Annotated[bool, Inside()] = False,
    loggers: Annotated[Sequence[Any], Inside()] = (),
    callbacks: Annotated[Sequence[Callback], Inside()] = (),
) -> History:
    """Train `model` in place; resume from the checkpoint in `folder` if there is one.

    On a CPU the weights and the history are a function of the arguments, bit for bit, however often the process was
    killed and restarted. A complete training is not run again: its weights and history are read. A training resumes
    only with the same data, batches, initial weights and settings; otherwise the checkpoint is refused. So build the
    network anew, under its seed, to resume an interrupted training.

    Args:
        model: Network to train. Modules in evaluation mode stay in it, with frozen statistics and dropout, unless the
            whole model is in evaluation mode, which is then trained in training mode. Afterwards each module is in its
            former mode, and the model is on the device of the training (with `channels_last` in that memory format).
        task: Task with the loss and metrics.
        train: Training batches, on the device `launch(settings).device`, with its rank and number of processes.
        test: Test batches, evaluated after the last epoch, or after every epoch if there is no validation; `None` for
            none.
        settings: Settings of the training.
        seed: Seed of dropout and other noise in the network; weights and batches have seeds of their own. The global
            generators and the number of threads are restored afterwards.
        folder: Folder of the checkpoint; each training needs its own.
        validation: Validation batches, evaluated after every epoch; `None` for none.
        optimizer: Optimizer of the parameters of `model`, with the state of an earlier training from which to continue;
            it then holds the state after this training, at its former learning rates. The rate of each parameter group
            is the peak of its schedule and replaces the `lr` of `settings`; their `optimizer`, `momentum`,
            `weight_decay`, `decay` and `groups` are ignored too, and it must have been made with their `depth_rule`
            (`parameter_groups`). The `lr` of a row is that of the first group. By default, a new optimizer as the
            settings specify.
        context: Further plain data on which the outcome depends, such as the settings of an experiment.
        label: Name of the training in the display of progress.
        quiet: Whether to show no progress.
        loggers: Loggers that get the row of each epoch, such as lightning-fabric's CSVLogger and TensorBoardLogger, or
            any with `log_metrics(metrics, step)`. A training that resumes logs its earlier epochs first.
        callbacks: Functions that are called after each epoch with an `EpochEnd`, in the main process; True ends the
            training (`EarlyStopping`). Those that are dataclasses are part of what a checkpoint is compared with.

    Raises:
        TypeError: if an argument has the wrong type, such as a DataLoader for batches, or batches cannot be compared
            with those of an earlier process.
        ValueError: if labels are outside the range of the task, the optimizer belongs to another model, batches are on
            another device, the parameter groups do not suit the model, or the settings cannot be met on this machine.
        CheckpointError: if the checkpoint in `folder` cannot be read, or belongs to another training.
        CannotWrite: if the disk is full, or `folder` cannot be written.
        NonFiniteLoss: if the training diverges. On a CPU the blocks of the model may raise `NonFiniteState` before.
    """
    sources = _present(train, test, validation)
    _check(model, task, sources, settings, seed, folder, optimizer, label, quiet)
    observers = Observers(model, loggers, callbacks, settings.epochs)
    descent = make_optimizer(model, settings) if optimizer is None else optimizer
    with threads_kept(), as_in_training(model), rates_kept(descent) as peaks:
        fabric = launch(settings, model)
        for name, batches in sources.items():
            require_same_device(name, batches, fabric.device)
        conditions: dict[str, Any] = {"seed": seed, "processes": fabric.world_size, "context": context}
        conditions["validation"] = validation
        if observers.rules:
            conditions["context"] = {"given": context, "callbacks": observers.rules}
        # The identity of the main process is used, because the other processes have other shares of the batches.
        identity = fabric.broadcast(identity_of(model, task, train, test, settings, optimizer=optimizer, **conditions))
        checkpoint = Checkpoint(Path(folder) / "checkpoint.pt", identity, settings.checkpoint_seconds)
        whole = task.answers_in_training
        called = compiled(model, fabric.device, whole=whole) if settings.compile else nullcontext(model)
        with random_numbers_kept(fabric.device), called as network:
            _seed(model, seed, fabric)
            parts = (model, network, task, sources, settings, descent, peaks, fabric, checkpoint, label)
            rows = _train(*parts, observers=observers, quiet=quiet)
    return History(task.headline, rows, identity["made_from"])


def _train(
    model: Annotated[nn.Module, Inside()],
    called: nn.Module,
    task: Annotated[Task, Inside()],
    sources: Mapping[str, BatchSource],
    settings: Training,
    optimizer: optim.Optimizer,
    peaks: Sequence[float],
    fabric: Fabric,
    checkpoint: Checkpoint,
    label: str,
    *,
    observers: Observers,
    quiet: bool,
) -> list[dict[str, float]]:
    """Run the training, with `model` in its present modes, and return the rows of the history.

    `called` is the module that computes the outputs of `model`, `sources` are the batches by the name of their split,
    and `peaks` are the peak learning rates of the parameter groups.
    """
    train = sources["train"]
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    learning_rate = Schedule(settings, steps=settings.epochs * len(train))
    network, descent = fabric.setup(called, optimizer)

    state = TrainingState(model, optimizer, fabric)
    if (saved := checkpoint.read()) is not None:
        state.restore(saved, str(checkpoint))
    read_every = _steps_between_reads(fabric)
    complete = state.epoch == settings.epochs or state.stopped
    show = show_progress(label, state.steps(len(train)), learning_rate.steps, quiet=quiet or complete)
    eager = Steps(network, descent, task, settings, fabric)

    with (
        deterministic_algorithms(settings.deterministic),
        _errors_with_place(state),
        _graphed(eager, train, model, optimizer, wanted=settings.cuda_graph and not complete) as steps,
        show as progress,
        observers.watching(state.rows),
    ):
        while state.epoch < settings.epochs and not state.stopped:
            state.start_clock()
            for batch in steps.batches(train, state.epoch, state.step):
                now = state.steps(len(train))
                set_learning_rates(optimizer, [learning_rate(now, peak) for peak in peaks])
                state.count(*steps.take(batch))

                if state.step % read_every == 0 or state.step == len(train):
                    state.settle()  # raises NonFiniteLoss if a loss is not finite
                    progress.step(state.steps(len(train)), _facts(state, task, settings))
                    if fabric.broadcast(checkpoint.due):
                        _save(state, checkpoint)
                    state.start_clock()

            followed = "validation" if "validation" in sources else "test"
            after = _evaluated(network, task, sources, followed)
            if state.epoch + 1 == settings.epochs and followed != "test":
                after |= _evaluated(network, task, sources, "test")
            state.close_epoch(_row(state, task, after))
            state.stopped = fabric.broadcast(observers.epoch_ended(state.rows, fabric.device))
            if state.stopped and state.epoch < settings.epochs and followed != "test":
                state.rows[-1] |= _evaluated(network, task, sources, "test")
            if fabric.broadcast(checkpoint.due) or state.epoch == settings.epochs or state.stopped:
                _save(state, checkpoint)
            progress.epoch(state.steps(len(train)), _facts_of_row(state, task, settings))
    return state.rows


def _check(
    model: Annotated[nn.Module, Inside()],
    task: Annotated[Task, Inside()],
    sources: Mapping[str, BatchSource],
    settings: Training,
    seed: Seed,
    folder: str | PathLike[str],
    optimizer: optim.Optimizer | None,
    label: str,
    quiet: bool,
) -> None:
    """Validate the arguments before the training starts."""
    require_model(model)
    require_float32(model)
    require_task(task)
    require_kind("settings", settings, Training, "a Training", "pass Training(epochs=…, …)")
    require_optimizer(optimizer)
    require_folder(folder)
    require_kind("label", label, str, "a string", "it is the name of the training in the display of progress")
    require_kind("quiet", quiet, bool, "True or False", "it switches the display of progress off")
    seeded_generator(seed, "check")
    for name, batches in sources.items():
        require_batches(name, batches)
        task.check(batches.split.labels)
    if optimizer is not None:
        require_optimizer_of(model, optimizer)
        require_depth_rule(optimizer, settings)


def _present(train: BatchSource, test: BatchSource | None, validation: BatchSource | None) -> dict[str, BatchSource]:
    others = {"validation": validation, "test": test}
    return {"train": train} | {name: batches for name, batches in others.items() if batches is not None}


def _evaluated(network: nn.Module, task: Task, sources: Mapping[str, BatchSource], split: str) -> dict[str, float]:
    """Evaluate on the batches of a split, if there are any."""
    scores = evaluate(network, task, sources[split]) if split in sources else {}
    return {f"{split}_{metric}": value for metric, value in scores.items()}


def _seed(model: nn.Module, seed: int, fabric: Fabric) -> None:
    """Seed each process differently, except the CPU generator if it decides which branches a batch skips."""
    own, first = (seeded_generator(seed, "training", rank).initial_seed() for rank in (fabric.global_rank, 0))
    seed_everything(own)  # also seeds the generators of accelerators, from which dropout draws
    if skips_branches(model):
        torch.default_generator.manual_seed(first)


def _steps_between_reads(fabric: Fabric) -> int:
    """Return the number of steps between reads of the loss: 1 on a CPU, else 50, as each read synchronizes."""
    return 1 if fabric.device.type == "cpu" and fabric.world_size == 1 else 50


def _save(state: TrainingState, checkpoint: Checkpoint) -> None:
    content = state.to_json_data()  # called by every process, because each contributes its part
    if state.fabric.is_global_zero:
        checkpoint.write(content)


def _row(state: TrainingState, task: Task, after: dict[str, float]) -> dict[str, float]:
    loss, score = state.tally.means(state.fabric)
    lr = learning_rates(state.optimizer)[0]
    head = {"epoch": state.epoch + 1, "lr": lr, "train_loss": loss}
    scored = {f"train_{task.headline}": score} if task.answers_in_training else {}
    return head | scored | after | {"seconds": state.seconds}


def _facts(state: TrainingState, task: Task, settings: Training) -> str:
    loss, score = state.tally.means()
    scored = f"  {task.headline} {score:.3f}" if task.answers_in_training else ""
    return f"epoch {state.epoch + 1}/{settings.epochs}  loss {loss:.3f}{scored}"


def _facts_of_row(state: TrainingState, task: Task, settings: Training) -> str:
    row = state.rows[-1]
    facts = {"loss": row["train_loss"]}
    facts |= {task.headline: row[f"train_{task.headline}"]} if task.answers_in_training else {}
    facts |= {part: row[key] for part in ("validation", "test") if (key := f"{part}_{task.headline}") in row}
    return f"epoch {state.epoch}/{settings.epochs}  " + "  ".join(
        f"{name} {value:.3f}" for name, value in facts.items()
    )


@contextmanager
def _graphed(
    steps: Steps, train: BatchSource, model: nn.Module, optimizer: optim.Optimizer, *, wanted: bool
) -> Iterator[Steps | GraphedSteps]:
    """Yield the steps as CUDA graphs if that is wanted and possible, else the eager steps."""
    if not wanted or not can_be_graphs(model, optimizer, steps.fabric, steps.task):
        yield steps
        return
    with capturable(optimizer, steps.fabric.device):
        yield GraphedSteps(steps, train, CudaGraph)


@contextmanager
def _errors_with_place(state: TrainingState) -> Iterator[None]:
    """Add the epoch and step to a `NonFiniteState`, whose message has only the t at which it occurred."""
    try:
        yield
    except NonFiniteState as error:
        error.add_note(f"in epoch {state.epoch + 1}, after {state.step} of its steps")
        raise
