"""One label or many?

The same small ResNet is trained twice on the same scenes: with softmax on one label, the class of the object with the
most visible pixels, and with one sigmoid per class on many labels, all classes that are visible. Linear regression
models on the pixels (softmax and logistic) are trained beside them. Then every net answers both questions:

- one label: the class of its largest output; measured by top-1 and top-k accuracy;
- many labels: all classes with a probability above 1/2; measured by subset accuracy (the share of scenes with the right
  answer for every class), and by the average precision of each class, which needs no threshold.

The probabilities of softmax sum to 1, so a net of one label can name one class only; the results are therefore also
given separately for each number of visible classes.

    python -m experiments.categorization cpu                   # scenes at 64×64: 12 minutes on one core
    python -m experiments.categorization cpu --data garments   # the same of Fashion-MNIST's images
    python -m experiments.categorization gpu    # scenes at 128×128, a deeper net (full: longer): 30 s a seed on an H100

Expected: regression on pixels fails (below 60 % accuracy for one label), because objects appear anywhere, in many
poses. Each net is the better one at its own question. In scenes of one class, the net of one label is right most often;
in scenes of two or three it loses accuracy (it has to compare areas), and can never name all classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from experiments.support.command import Experiment, Seeds
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from odenet.data import SceneBatches, Scenes, data_root, garment_scenes
from odenet.measure.mode import in_mode
from odenet.models import cifar_resnet
from odenet.training import Classification, History, MultiLabel, Record, Run, Task, Training, launch
from odenet.training.checked import Checked

TRAINING = Training(
    epochs=10, batch_size=64, optimizer="adamw", lr=0.003, weight_decay=1e-3, decay="weights", threads=1
)


@dataclass(frozen=True)
class Categorization(Checked):
    """Settings of the experiment."""

    data: Literal["scenes", "garments"] = "scenes"
    """Scenes to draw: silhouettes of four classes (scenes), or images of Fashion-MNIST, ten classes (garments)."""
    size: tuple[int, int] = (64, 64)
    """Height and width of a scene."""
    seeds: Seeds = (0, 1)
    """One repetition each: initial weights and training scenes; the test scenes stay the same."""
    train_scenes: int = 6400
    """Scenes in an epoch; every epoch has new ones."""
    test_scenes: int = 2000
    """Scenes that are tested on."""
    blocks: int = 1
    """Residual blocks in each stage of the net."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage of the net."""
    regression_lr: float = 1e-4
    """Learning rate of the regressions: each output sums over all pixels, and wants smaller steps."""
    training: Training = field(default_factory=lambda: TRAINING)
    """How each net is trained."""


GPU = Categorization(
    size=(128, 128),
    seeds=(0, 1, 2),
    train_scenes=25_600,
    test_scenes=5000,
    blocks=3,
    training=replace(TRAINING, **ON_A_GPU),
)

PRESETS = {
    "smoke": Categorization(
        size=(16, 16),
        seeds=(0,),
        train_scenes=128,
        test_scenes=64,
        widths=(4, 8),
        training=replace(TRAINING, epochs=1),
    ),
    "cpu": Categorization(),
    "gpu": GPU,
    "full": replace(GPU, training=replace(GPU.training, epochs=20)),
}
GPU_SECONDS = 30  # estimated for one seed of the preset gpu on an H100


def categorization(settings: Categorization, root: Path | None, run: Run) -> None:
    """Train a net and a regression model on each question for every seed, and test each on both questions."""
    fabric = launch(settings.training)
    train, test = (scenes.to(fabric.device) for scenes in scenes_of(settings, root))
    tasks: dict[str, Task] = {"label": one_label(test.classes), "labels": MultiLabel(test.classes)}
    tests = {question: SceneBatches(test, settings.test_scenes, 250, target=question) for question in tasks}
    batches = partial(
        SceneBatches,
        count=settings.train_scenes,
        batch_size=settings.training.batch_size,
        fresh=True,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    for seed in settings.seeds:
        for question, task in tasks.items():
            for kind in ("regression", "net"):
                torch.manual_seed(seed)
                net, training = model_and_training(kind, settings, len(test.classes))
                net.to(fabric.device)
                key = f"seed{seed}/{kind}/{question}"
                fresh = batches(replace(train, seed=seed), target=question)
                fit = partial(run.fit, key, net, task, fresh, tests[question], training, seed=seed, label=f"{key:25}")
                run.once(key, partial(train_and_test, net, question, tasks, tests, fit))
    run.finish(table=table(run.record))


def scenes_of(settings: Categorization, root: Path | None) -> tuple[Scenes, Scenes]:
    """Return the training and test scenes of seed 0."""
    if settings.data == "garments":
        return garment_scenes(data_root(root), size=settings.size)
    return Scenes(settings.size), Scenes(settings.size, part="test")


def one_label(classes: tuple[str, ...]) -> Classification:
    """Return the task of one label, with top-2 accuracy, and top-5 accuracy if there are more than five classes."""
    return Classification(len(classes), top=tuple(k for k in (2, 5) if k < len(classes)))


def model_and_training(kind: str, settings: Categorization, num_classes: int) -> tuple[nn.Module, Training]:
    """Build a net or a regression model, and return it with the settings of its training."""
    if kind == "net":
        return cifar_resnet(settings.blocks, num_classes, widths=settings.widths, stem_stride=2), settings.training
    height, width = settings.size
    regression = nn.Sequential(nn.Flatten(), nn.Linear(3 * height * width, num_classes))
    return regression, replace(settings.training, lr=settings.regression_lr)


def train_and_test(
    net: nn.Module,
    trained_on: str,
    tasks: Mapping[str, Task],
    tests: Mapping[str, SceneBatches],
    fit: Callable[[], History],
) -> dict[str, Any]:
    """Train the net, and return its metrics for both questions, also by the number of classes, and its history.

    A net of one label answers the question of many labels by the softmax probability of each class, turned into
    log-odds as the other question needs them; even the largest of these probabilities may be below 1/2.
    """
    history = fit()
    with in_mode(net, training=False), torch.inference_mode():
        outputs = torch.cat([net(images) for images, _ in tests["label"].epoch(0)]).float()
    odds = outputs.softmax(dim=1).logit() if trained_on == "label" else outputs
    label, labels = (tests[question].split.labels for question in ("label", "labels"))
    scores: dict[str, Any] = {}
    for question, given, right in (("label", outputs, label), ("labels", odds, labels)):
        metrics = tasks[question].metrics().to(given.device)
        metrics.update(given, right)
        scores |= {name: float(value) for name, value in metrics.compute().items()}
    return scores | {"by_visible_classes": by_visible_classes(outputs, odds, label, labels), "history": history.rows}


def by_visible_classes(outputs: Tensor, odds: Tensor, label: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """Return a row for each number of classes in a scene: the number of scenes, and the shares of right answers."""
    right = {
        "accuracy": outputs.argmax(dim=1) == label,
        "in_scene": labels.gather(1, outputs.argmax(dim=1, keepdim=True)).squeeze(1) == 1,
        "subset_accuracy": ((odds > 0) == labels).all(dim=1),
    }
    rows = []
    for classes in labels.sum(dim=1).unique().tolist():
        scenes = labels.sum(dim=1) == classes
        shares = {name: float(answer[scenes].float().mean()) for name, answer in right.items()}
        rows.append({"classes": classes, "scenes": int(scenes.sum())} | shares)
    return rows


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each net and question: means and standard deviations over the seeds."""
    keys = dict.fromkeys(name.partition("/")[2] for name in record.results)
    first = next(iter(record.results.values()))
    columns = ["accuracy", *(name for name in first if name.startswith("top-")), "mAP", "subset_accuracy"]
    return [
        {"contestant": key.partition("/")[0], "trained on": key.partition("/")[2]}
        | {f"{name} %": spread(100 * share for share in over_seeds(record.results, key, name)) for name in columns}
        for key in keys
    ]


EXPERIMENT = Experiment("categorization", PRESETS, categorization)
if __name__ == "__main__":
    EXPERIMENT.main()
