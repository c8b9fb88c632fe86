"""What `bad_calls` calls beside the public names themselves: their methods, properties that can be set, and options.

Every public method of a public class is in `METHODS`, and is called with bad values, or in `UNCHECKED`, with a reason.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchdiffeq._impl.odeint import SOLVERS

import odenet
from odenet import Adaptive, Constant, FixedSteps, MLPBranch, ODEBlock, PiecewiseConstant, StochasticDepth
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.stepping.torchdiffeq_bridge import _options_of
from odenet.blocks.stepping.torchdiffeq_options import HINTS
from odenet.blocks.theta.base import Theta
from odenet.data import (
    Batches,
    CropBatches,
    DetectionBatches,
    DetectionImages,
    ImageData,
    MaskedImages,
    ObjectBatches,
    SceneBatches,
    Scenes,
    Split,
    coco_folder,
)
from odenet.models import SigmoidChain, cifar_resnet, imagenet_resnet, plain_backbone
from odenet.training import AuxiliaryClassification, Classification, History, MultiLabel, Record, Run, Segmentation
from tests import coco_files


def split(number: int = 6) -> Split:
    return Split(torch.randint(0, 256, (number, 1, 8, 8), dtype=torch.uint8), torch.arange(number) % 3)


def image_data() -> ImageData:
    return ImageData("a", split(), split(), ("a", "b", "c"))


def batches() -> Batches:
    return Batches(split(), 3, mean=[0.5], std=[0.5])


def block(*, per_sample: bool = False) -> ODEBlock:
    branches = [MLPBranch(2, 3) for _ in range(2)]
    return ODEBlock(PiecewiseConstant(branches), Adaptive(per_sample=True) if per_sample else FixedSteps())


def detection_images(folder: Path) -> DetectionImages:
    """A small folder in COCO's format."""
    return coco_folder(*coco_files.write(folder / "coco"))


def masked_images(folder: Path) -> MaskedImages:
    """The two images of `folder` with their masks."""
    images, masks = (tuple(folder / part / f"{name}.png" for name in "ab") for part in ("images", "masks"))
    return MaskedImages(images, masks, ("ground", "thing"))


def _run(folder: Path) -> Run:
    return Run.open("a", {}, Path(tempfile.mkdtemp(dir=folder)) / "record.json")


def _chain() -> SigmoidChain:
    return SigmoidChain(torch.ones(3), torch.ones(3))


def _history() -> History:
    return History("accuracy", [{"seconds": 1.0}])


METHODS: Mapping[str, Callable[[Path], Any]] = {
    "odenet.ODEBlock.check": lambda _: block(),
    "odenet.ODEBlock.locate_nonfinite": lambda _: block(),
    "odenet.StochasticDepth.on_pieces": lambda _: StochasticDepth(0.5),
    "odenet.models.SigmoidChain.bias_gradients": lambda _: _chain(),
    "odenet.models.SigmoidChain.centred": lambda _: SigmoidChain,
    "odenet.models.SigmoidChain.factors": lambda _: _chain(),
    "odenet.models.Backbone.pixels_for": lambda _: plain_backbone(((2,), (3,))),
    "odenet.layers.NaiveInception.of_widths": lambda _: odenet.layers.NaiveInception,
    "odenet.data.Batches.epoch": lambda _: batches(),
    "odenet.data.Batches.global_size": lambda _: batches(),
    "odenet.data.CropBatches.epoch": lambda folder: CropBatches(masked_images(folder), 4, 1, train=True),
    "odenet.data.ImageData.test_batches": lambda _: image_data(),
    "odenet.data.ImageData.train_batches": lambda _: image_data(),
    "odenet.data.ImageData.validation_batches": lambda _: image_data().with_validation(0.5),
    "odenet.data.ImageData.with_train_images": lambda _: image_data(),
    "odenet.data.ImageData.with_validation": lambda _: image_data(),
    "odenet.data.MaskedImages.read": masked_images,
    "odenet.data.PointBatches.epoch": lambda _: odenet.data.moons(4).batches(2),
    "odenet.data.Points.batches": lambda _: odenet.data.moons(4),
    "odenet.data.SceneBatches.epoch": lambda _: SceneBatches(Scenes(size=(8, 8)), 2, 2),
    "odenet.data.Scenes.draw": lambda _: Scenes(size=(8, 8)),
    "odenet.data.Scenes.to": lambda _: Scenes(size=(8, 8)),
    "odenet.data.Split.first": lambda _: split(),
    "odenet.data.Split.subset": lambda _: split(),
    "odenet.data.Split.to": lambda _: split(),
    "odenet.training.AuxiliaryClassification.check": lambda _: AuxiliaryClassification(3),
    "odenet.training.Classification.check": lambda _: Classification(3),
    "odenet.data.DetectionBatches.epoch": lambda folder: DetectionBatches(detection_images(folder), 2, train=True),
    "odenet.data.DetectionImages.read": detection_images,
    "odenet.data.ObjectBatches.epoch": lambda _: ObjectBatches(Scenes(size=(8, 8)), 2, 2),
    "odenet.training.MultiLabel.check": lambda _: MultiLabel(("a", "b")),
    "odenet.training.Segmentation.check": lambda _: Segmentation(3),
    "odenet.training.History.column": lambda _: _history(),
    "odenet.training.Record.load": lambda _: Record,
    "odenet.training.Record.save": lambda _: Record("a", "", {}),
    "odenet.training.Run.fit": _run,
    "odenet.training.Run.folder": _run,
    "odenet.training.Run.made_from": _run,
    "odenet.training.Run.note": _run,
    "odenet.training.Run.once": _run,
    "odenet.training.Run.open": lambda _: Run,
    "odenet.training.Run.recorded": lambda _: Run,
}
"""Methods that users call, and the object (or class) of which, from a folder with two images and their masks."""

RIGHT_OF_METHODS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "odenet.ODEBlock.check": lambda _: {"stepping": FixedSteps(), "gradient": odenet.Backprop()},
    "odenet.ODEBlock.locate_nonfinite": lambda _: {"x": torch.ones(1, 2)},
    "odenet.StochasticDepth.on_pieces": lambda _: {"number": 2},
    "odenet.models.SigmoidChain.bias_gradients": lambda _: {"a": torch.ones(2)},
    "odenet.models.SigmoidChain.centred": lambda _: {"weights": torch.ones(3), "a": torch.ones(())},
    "odenet.models.SigmoidChain.factors": lambda _: {"a": torch.ones(2)},
    "odenet.models.Backbone.pixels_for": lambda _: {"size": 3},
    "odenet.layers.NaiveInception.of_widths": lambda _: {
        "in_channels": 2,
        "widths": odenet.layers.InceptionWidths(1, 1, 1, 1, 1, 1),
    },
    "odenet.data.Batches.epoch": lambda _: {"epoch": 1},
    "odenet.data.Batches.global_size": lambda _: {"index": 1},
    "odenet.data.CropBatches.epoch": lambda _: {"epoch": 1},
    "odenet.data.ImageData.test_batches": lambda _: {"batch_size": 2},
    "odenet.data.ImageData.train_batches": lambda _: {"batch_size": 2},
    "odenet.data.ImageData.validation_batches": lambda _: {"batch_size": 2},
    "odenet.data.ImageData.with_train_images": lambda _: {"train_images": 3},
    "odenet.data.ImageData.with_validation": lambda _: {"share": 0.5},
    "odenet.data.MaskedImages.read": lambda _: {"index": 1},
    "odenet.data.PointBatches.epoch": lambda _: {"epoch": 1},
    "odenet.data.Points.batches": lambda _: {"batch_size": 2},
    "odenet.data.SceneBatches.epoch": lambda _: {"epoch": 1},
    "odenet.data.Scenes.draw": lambda _: {"indices": [1, 2]},
    "odenet.data.Scenes.to": lambda _: {"device": "cpu"},
    "odenet.data.Split.first": lambda _: {"n": 2},
    "odenet.data.Split.subset": lambda _: {"indices": torch.tensor([1])},
    "odenet.data.Split.to": lambda _: {"device": "cpu"},
    "odenet.training.AuxiliaryClassification.check": lambda _: {"targets": torch.zeros(2, dtype=torch.int64)},
    "odenet.training.Classification.check": lambda _: {"targets": torch.zeros(2, dtype=torch.int64)},
    "odenet.data.DetectionBatches.epoch": lambda _: {"epoch": 1},
    "odenet.data.DetectionImages.read": lambda _: {"index": 1},
    "odenet.data.ObjectBatches.epoch": lambda _: {"epoch": 1},
    "odenet.training.MultiLabel.check": lambda _: {"targets": torch.zeros(2, 2, dtype=torch.int64)},
    "odenet.training.Segmentation.check": lambda _: {"targets": torch.zeros(2, 4, 4, dtype=torch.int64)},
    "odenet.training.History.column": lambda _: {"name": "seconds"},
    "odenet.training.Record.load": lambda folder: {"path": _saved_record(folder)},
    "odenet.training.Record.save": lambda folder: {"path": folder / "saved.json"},
    "odenet.training.Run.fit": lambda _: {
        "key": "a",
        "model": nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
        "task": Classification(3),
        "train": batches(),
        "test": None,
        "settings": odenet.training.Training(epochs=1, device="cpu", batch_size=3),
        "seed": 0,
        "quiet": True,
    },
    "odenet.training.Run.folder": lambda _: {"key": "a"},
    "odenet.training.Run.made_from": lambda _: {"name": "a", "content": 1},
    "odenet.training.Run.note": lambda _: {"fingerprints": {"a": "b"}},
    "odenet.training.Run.once": lambda _: {"key": "a", "compute": dict},
    "odenet.training.Run.open": lambda folder: _run_arguments(folder),
    "odenet.training.Run.recorded": lambda folder: _run_arguments(folder),
}
"""Arguments that are right, by method."""


def _saved_record(folder: Path) -> Path:
    Record("a", "", {}).save(folder / "record.json")
    return folder / "record.json"


def _run_arguments(folder: Path) -> dict[str, Any]:
    return {"experiment": "a", "settings": {}, "path": folder / "run.json", "preset": ""}


_STEP = "called at each step or evaluation of a solve"
_PASS = "called by blocks in each forward pass, with what they have compared"
_ASSIGNED = "called by blocks when it is assigned, with what they have compared"
_BATCH = "called for each batch, and refuses what its tensors do not fit"

UNCHECKED: Mapping[str, str] = {
    **dict.fromkeys(
        ("increment", "step", "step_back", "start", "finish", "partner", "shears", "growth", "fitted", "weights"), _STEP
    ),
    **dict.fromkeys(("tangent", "density"), _STEP),
    **dict.fromkeys(("numbers", "from_numbers", "paint"), "called for each batch, with numbers of the batches' own"),
    **dict.fromkeys(("interval", "field_of_piece", "nodes_of_piece", "spans", "steps"), _PASS),
    **dict.fromkeys(("integrate", "integrate_with_adjoint", "plan", "reversible_plan", "drawn"), _PASS),
    **dict.fromkeys(("forward_stepping", "coupled", "solve_name", "with_local_error"), _PASS),
    "divide_statistics": "called by refinements, with the statistics of the block itself",
    **dict.fromkeys(("check_adjoint", "check_projection", "check_reversible"), _ASSIGNED),
    **{
        f"odenet.{name}.check": _ASSIGNED
        for name in ("Backprop", "Checkpointed", "ContinuousAdjoint", "Regularized", "Reversible")
    },
    "odenet.StochasticDepth.check": _PASS,
    **dict.fromkeys(("forward", "features", "scores", "zero_padded", "inputs"), _BATCH),
    **dict.fromkeys(("upsample", "upsample_channels", "natural_size", "apply"), _BATCH),
    **dict.fromkeys(("loss", "score", "outputs", "combine"), _BATCH),
    "warn": "called by solves that stopped early",
    "odenet.measure.ResidualAlignment.between_blocks": "takes one of three names, tested in its own file",
    "odenet.training.BatchSource.epoch": "of a protocol",
    "odenet.training.Task.check": "abstract",
    "odenet.training.Detection.check": "takes anything, and says what it must be",
    "odenet.training.Run.finish": "takes any plain data",
}
"""Methods that no bad value is tried on, by name or by full name, and why."""

SETTERS: Mapping[str, tuple[Callable[[], Any], Any, Callable[[], Any]]] = {
    "odenet.ODEBlock.theta": (block, Theta, lambda: Constant(MLPBranch(2, 3))),
    "odenet.ODEBlock.stepping": (block, Stepping, FixedSteps),
    "odenet.ODEBlock.gradient": (block, GradientMethod, odenet.Backprop),
    "odenet.ODEBlock.noise": (block, StochasticDepth | None, lambda: StochasticDepth(0.5)),
    "odenet.ODEBlock.projection": (block, Callable[..., Any] | None, lambda: torch.relu),
    "odenet.ODEBlock.compiled": (block, bool, lambda: True),
    "odenet.Theta.horizon": (lambda: Constant(MLPBranch(2, 3)), float, lambda: 2.0),
}
"""Attributes that users set: an object that has one, the annotation, and a value that is right."""

_CIFAR, _IMAGENET = (20, 32, 44, 56, 110), (18, 34)
_BOTTLENECKS = ["resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
_BOTTLENECKS += ["wide_resnet50_2", "wide_resnet101_2"]

OPTIONS: Mapping[str, tuple[Callable[..., Any], set[str]]] = {
    **{f"odenet.models.resnet{layers}": (cifar_resnet, {"blocks"}) for layers in (*_CIFAR, 1202)},
    **{f"odenet.models.resnet{layers}": (imagenet_resnet, {"blocks"}) for layers in _IMAGENET},
    **{f"odenet.models.plain{layers}": (cifar_resnet, {"blocks", "shortcut", "flow"}) for layers in _CIFAR},
    **{f"odenet.models.plain{layers}": (imagenet_resnet, {"blocks", "shortcut", "flow"}) for layers in _IMAGENET},
    **{f"odenet.models.{name}": (imagenet_resnet, {"blocks", "expansion", "branch"}) for name in _BOTTLENECKS},
    **{f"odenet.models.{name}": (odenet.models.GoogLeNet, set()) for name in ("googlenet", "googlenet_bn")},
    **{f"odenet.models.{name}": (odenet.models.VGG, {"stages"}) for name in ("vgg16", "vgg19")},
    "odenet.models.fcn": (odenet.models.FullResolution, set()),
    "odenet.data.garment_scenes": (Scenes, {"templates", "part"}),
    "odenet.training.Run.fit": (odenet.training.fit, {"folder", "context"}),
}
"""Where **options go, and the arguments that the callable gives itself."""

OTHER_OPTIONS = {
    "odenet.configure": "refuses each by name",
    "odenet.models.get_model": "hands them to the constructor that the name stands for",
    "odenet.Adaptive": "hands them to torchdiffeq: see `ADAPTIVES`",
    **{f"odenet.models.{name}": "hands them to torchvision" for name in ("fcos", "retinanet")},
    **{f"odenet.models.{name}": "hands them to torchvision" for name in ("faster_rcnn", "mask_rcnn")},
    **{
        f"odenet.models.{name}_resnet50_fpn": "hands them to torchvision"
        for name in ("fcos", "retinanet", "fasterrcnn", "maskrcnn")
    },
}
"""Callables with **options that go to no other callable of odenet."""

ADAPTIVES: Mapping[str, Callable[..., Adaptive]] = {
    f"odenet.Adaptive of {method}": partial(Adaptive, method) for method in sorted(SOLVERS)
}
"""Adaptive stepping by each of torchdiffeq's methods, whose options differ."""


def options_of_adaptive(name: str) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and default of each option of one of `ADAPTIVES`."""
    solver = SOLVERS[name.rpartition(" ")[2]]
    for option in _options_of(solver):
        hint = HINTS[option] | np.ndarray if option in ("step_t", "jump_t") else HINTS[option]
        yield option, hint, 0 if option == "min_step" else inspect.Parameter.empty


def public_methods(wings: tuple[str, ...]) -> Iterator[str]:
    """Full names of all methods with arguments of the public classes, each at the class that defines it first."""
    for wing in wings:
        module = import_module(wing)
        for name in module.__all__:
            cls = getattr(module, name)
            if inspect.isclass(cls) and not issubclass(cls, BaseException):
                yield from (f"{wing}.{name}.{method}" for method in _own_methods(cls))


def _own_methods(cls: type) -> Iterator[str]:
    for name in dir(cls):
        owner = next(c for c in cls.__mro__ if name in vars(c)) if not name.startswith("_") else object
        method = getattr(cls, name)
        if not owner.__module__.startswith("odenet") or not callable(method) or inspect.isclass(method):
            continue
        if list(inspect.signature(method).parameters) not in ([], ["self"], ["cls"]):
            yield name


def public_setters(wings: tuple[str, ...]) -> Iterator[str]:
    """Full names of the properties of public classes that can be set, at the class that defines them."""
    for wing in wings:
        module = import_module(wing)
        for name in module.__all__:
            cls = getattr(module, name)
            if inspect.isclass(cls):
                yield from (f"{wing}.{name}.{k}" for k, v in vars(cls).items() if isinstance(v, property) and v.fset)
