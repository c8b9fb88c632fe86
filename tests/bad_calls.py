"""Bad calls of every public callable, one argument wrong at a time, and what is to be said of the answer.

A callable is one of the names that `odenet` and its wings hand on. It is called with arguments that are right, of
which one is replaced by a value that cannot be meant: text for a number, a negative count, a list of nothing. It has to
raise a `ValueError` or `TypeError` of the library's own that names the parameter or the value and says what to do.
`python -m tests.bad_calls` counts what is accepted, and what is refused in a confusing way.
"""

from __future__ import annotations

import atexit
import collections.abc
import inspect
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
import typing
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from importlib import import_module
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import FrameType, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

import odenet
from odenet import Constant, Euler, FixedSteps, MLPBranch, ODEBlock, PiecewiseConstant
from odenet.layers import InceptionWidths
from odenet.layers.grid import Grid
from tests import coco_files
from tests.bad_calls_of_methods import (
    ADAPTIVES,
    METHODS,
    OPTIONS,
    RIGHT_OF_METHODS,
    SETTERS,
    batches,
    block,
    masked_images,
    options_of_adaptive,
    split,
)

WINGS = ("odenet", "odenet.models", "odenet.layers", "odenet.data", "odenet.training", "odenet.measure")

NOT_CALLED_BY_USERS: Mapping[str, str] = {
    "odenet.Piece": "what a θ yields",
    "odenet.SolveReport": "what a solve leaves behind",
    "odenet.Status": "what a solve leaves behind",
    "odenet.layers.InceptionWidths": "compared by Inception",
    "odenet.models.GoogLeNetOutput": "what a network returns",
    "odenet.data.SceneBatch": "what Scenes draws",
    "odenet.training.BatchSource": "a protocol",
    "odenet.training.EpochEnd": "what a callback is given",
    "odenet.training.History": "what fit returns",
    "odenet.training.Record": "what a run writes, compared with its file by `Record.load`",
    "odenet.training.fingerprint": "takes everything",
    "odenet.measure.Energy": "what measure_energy returns",
    "odenet.measure.Evaluation": "what evaluation_points returns",
    "odenet.measure.Path": "what solve_path returns",
    "odenet.measure.PrincipalPath": "what principal_path returns",
    "odenet.measure.ResidualAlignment": "what residual_alignment returns",
    "odenet.measure.LayerGradient": "what layer_gradients returns",
    "odenet.measure.Reach": "what reach returns",
}
"""Names without bad calls, and why."""


@cache
def _folder() -> Path:
    """Two images with masks, a saved model and its weights."""
    from PIL import Image

    from odenet.training import save_model, save_weights

    folder = Path(tempfile.mkdtemp(prefix="odenet-bad-calls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for part, mode in (("images", "RGB"), ("masks", "L")):
        (folder / part).mkdir()
        for name in ("a", "b"):
            picture = Image.new(mode, (8, 8))
            if part == "masks":
                picture.putpixel((0, 0), 1)
            picture.save(folder / part / f"{name}.png")
    net = MLPBranch(2, 3)
    save_model(net, folder / "model.safetensors", partial(MLPBranch, 2, 3))
    save_weights(net, folder / "weights.safetensors")
    return folder


def _regularized_block() -> ODEBlock:
    solved = ODEBlock(
        Constant(MLPBranch(2, 3)), gradient=odenet.Regularized(odenet.Backprop(), [odenet.KineticEnergy()])
    )
    solved(torch.zeros(1, 2))
    return solved


class _Acceleration(nn.Module):
    """x″ = -x - x′."""

    def forward(self, t: float, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return -x - v


def _optimizer_and_nets() -> dict[str, Any]:
    before = block()
    after = odenet.refine_theta(odenet.refine_steps(before))
    return {"optimizer": torch.optim.SGD(before.parameters(), 0.1), "before": before, "after": after}


def _flat_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def _classifier() -> Any:
    from odenet.models import PatchClassifier

    return PatchClassifier(2, 1, stages=((2,), (2,)), side=3, hidden=2)


def _fcn_backbone() -> Any:
    from odenet.models import plain_backbone

    return plain_backbone(((2,), (3,), (4,)))


@cache
def _coco_files() -> tuple[Path, Path]:
    return coco_files.write(Path(tempfile.mkdtemp(dir=_folder())))


def _detection_images() -> Any:
    return odenet.data.coco_folder(*_coco_files())


def _torchvision_detector() -> Any:
    from torchvision.models.detection import fcos_resnet50_fpn

    with torch.device("meta"):
        return fcos_resnet50_fpn(weights_backbone=None, num_classes=2)


def _resnet() -> Any:
    from odenet.models import cifar_resnet

    return cifar_resnet(2, widths=(2, 3))


@cache
def _torchvision_googlenet() -> Any:
    import torchvision

    return torchvision.models.googlenet(init_weights=False, aux_logits=False, num_classes=2)


@cache
def _torchvision_resnet() -> Any:
    import torchvision

    return torchvision.models.resnet18(num_classes=2)


@cache
def _resnet18() -> Any:
    return odenet.models.resnet18(2)


def _unet_parts() -> dict[str, Any]:
    return {
        "down": [nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)],
        "ups": [odenet.layers.Nearest(4, 2)],
        "up": [nn.Conv2d(4, 2, 3, padding=1)],
        "head": nn.Conv2d(2, 2, 1),
        "in_channels": 1,
        "borders": "padded",
        "shrinkage": 0,
    }


def _model_images() -> dict[str, Any]:
    return {"model": nn.Conv2d(1, 2, 3), "images": torch.zeros(1, 1, 8, 8)}


RIGHT: Mapping[str, Callable[[], dict[str, Any]]] = {
    "odenet.Autonomous": lambda: {"module": nn.Linear(2, 2)},
    "odenet.BasicBranch": lambda: {"channels": 4, "in_channels": 4, "stride": 1},
    "odenet.BottleneckBranch": lambda: {"channels": 4, "in_channels": 4},
    "odenet.ButcherTableau": lambda: {"order": 1, "a": [[]], "b": [1]},
    "odenet.Checkpointed": lambda: {"segments": 2},
    "odenet.ConcatConv": lambda: {"in_channels": 2, "out_channels": 2},
    "odenet.ConcatConvBranch": lambda: {"channels": 2},
    "odenet.Constant": lambda: {"branch": MLPBranch(2, 3), "horizon": 1.0},
    "odenet.ContinuousAdjoint": lambda: {"rtol": 1e-3, "atol": 1e-3, "method": "dopri5"},
    "odenet.Coupled": lambda: {"solver": odenet.Heun(), "coupling": 0.99},
    "odenet.Galerkin": lambda: {"nodes": [MLPBranch(2, 3)]},
    "odenet.HamiltonianBranch": lambda: {"channels": 4},
    "odenet.HeavyBall": lambda: {"branch": MLPBranch(2, 3)},
    "odenet.MLPBranch": lambda: {"features": 2},
    "odenet.ODEBlock": lambda: {"theta": Constant(MLPBranch(2, 3))},
    "odenet.PiecewiseConstant": lambda: {"nodes": [MLPBranch(2, 3)]},
    "odenet.PiecewiseLinear": lambda: {"nodes": [MLPBranch(2, 3), MLPBranch(2, 3)]},
    "odenet.Regularized": lambda: {"gradient": odenet.Backprop(), "costs": [odenet.KineticEnergy()]},
    "odenet.penalty": lambda: {"model": _regularized_block()},
    "odenet.SecondOrder": lambda: {"acceleration": _Acceleration()},
    "odenet.Spline": lambda: {"nodes": [MLPBranch(2, 3) for _ in range(4)]},
    "odenet.Mixed": lambda: {"members": [FixedSteps(Euler()), FixedSteps(Euler(), 2)]},
    "odenet.StochasticDepth": lambda: {"survival": 0.5},
    "odenet.SymmetricBranch": lambda: {"channels": 4},
    "odenet.coarsen_steps": lambda: {"model": ODEBlock(Constant(MLPBranch(2, 3)), FixedSteps(Euler(), 4))},
    "odenet.coarsen_theta": lambda: {"model": block()},
    "odenet.configure": lambda: {"model": block(), "stepping": FixedSteps()},
    "odenet.group_norm": lambda: {"channels": 4},
    "odenet.initialize_depth": lambda: {"model": block(), "along": "tied"},
    "odenet.linear_decay": lambda: {"pieces": 3},
    "odenet.project_theta": lambda: {"theta": block().theta, "kind": PiecewiseConstant, "nodes": 2},
    "odenet.recalibrate": lambda: {
        "net": nn.Sequential(nn.BatchNorm1d(2), block()).eval(),
        "batches": [torch.rand(4, 2)],
    },
    "odenet.refine_steps": lambda: {"model": block()},
    "odenet.refine_theta": lambda: {"model": ODEBlock(block().theta, FixedSteps(Euler(), 2))},
    "odenet.trajectory": lambda: {"block": block(per_sample=True), "x": torch.zeros(1, 2), "times": [0.0, 1.0]},
    "odenet.models.FCN": lambda: {"backbone": _fcn_backbone(), "num_classes": 2, "padding": 1},
    "odenet.models.VGG": lambda: {"stages": [[2], [2]], "num_classes": 2, "hidden": 2},
    "odenet.models.vgg16": lambda: {"hidden": 2},
    "odenet.models.vgg19": lambda: {"hidden": 2},
    "odenet.models.DeconvNet": lambda: {
        "stages": [[2], [2]],
        "num_classes": 2,
        "in_channels": 1,
        "hidden": 2,
        "window": 2,
        "norm": nn.BatchNorm2d,
        "upsampling": odenet.layers.MaxUnpooling,
    },
    "odenet.models.deconvnet": lambda: {"stages": [[2], [2]], "hidden": 2, "window": 2},
    "odenet.models.DenseClassifier": lambda: {"classifier": _classifier()},
    "odenet.models.FullResolution": lambda: {"num_classes": 2, "width": 2, "blocks": 1},
    "odenet.models.PatchClassifier": lambda: {"num_classes": 2, "stages": ((2,), (2,)), "side": 3, "hidden": 2},
    "odenet.models.ResNet": lambda: {
        "stem": nn.Conv2d(1, 2, 3),
        "stages": [nn.Identity()],
        "features": 2,
        "num_classes": 2,
        "in_channels": 1,
        "stride": 1,
    },
    "odenet.models.SigmoidChain": lambda: {"weights": torch.ones(3), "biases": torch.ones(3)},
    "odenet.models.SigmoidMLP": lambda: {"depth": 2, "in_features": 4, "width": 3},
    "odenet.models.SlidingWindow": lambda: {"classifier": _classifier()},
    "odenet.models.Backbone": lambda: {
        "stages": [nn.Conv2d(1, 2, 3)],
        "channels": [2],
        "grids": [Grid()],
        "in_channels": 1,
    },
    "odenet.models.UNet": _unet_parts,
    "odenet.models.a_trous": lambda: {"layers": [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3)]},
    "odenet.models.add_identity_layers": lambda: {"model": _resnet(), "layers": 1},
    "odenet.models.cifar_resnet": lambda: {"blocks": 1, "widths": (2, 3)},
    "odenet.models.from_torchvision": lambda: {"model": _torchvision_resnet()},
    **{
        f"odenet.models.{name}": lambda: {"backbone": _fcn_backbone(), "num_classes": 2, "channels": 32, "hidden": 2}
        for name in ("faster_rcnn", "mask_rcnn")
    },
    **{
        f"odenet.models.{name}": lambda: {"backbone": _fcn_backbone(), "num_classes": 2, "channels": 32}
        for name in ("fcos", "retinanet")
    },
    "odenet.models.Pyramid": lambda: {"backbone": _fcn_backbone(), "fpn": odenet.models.pyramid(_fcn_backbone()).fpn},
    "odenet.models.pyramid": lambda: {"backbone": _fcn_backbone(), "channels": 2},
    "odenet.models.detector_from_torchvision": lambda: {"model": _torchvision_detector()},
    "odenet.models.detector_to_torchvision": lambda: {
        "detector": odenet.models.detector_from_torchvision(_torchvision_detector())
    },
    "odenet.models.googlenet_from_torchvision": lambda: {"model": _torchvision_googlenet()},
    "odenet.models.get_constructor": lambda: {"name": "resnet20"},
    "odenet.models.get_model": lambda: {"name": "res_net"},
    "odenet.models.list_models": lambda: {"pattern": "res*"},
    "odenet.models.imagenet_resnet": lambda: {"blocks": [1, 1]},
    "odenet.models.patch_backbone": lambda: {"classifier": _classifier()},
    "odenet.models.plain_backbone": lambda: {"widths": ((2,), (3,))},
    "odenet.models.set_stochastic_depth": lambda: {"model": _resnet()},
    "odenet.models.shift_and_stitch": lambda: {"classifier": _classifier(), "x": torch.zeros(1, 1, 8, 8)},
    "odenet.models.to_torchvision": lambda: {"net": _resnet18()},
    "odenet.models.backbone_of": lambda: {"classifier": odenet.models.VGG([[2], [2], [2]], 2, hidden=2)},
    "odenet.models.unet": lambda: {"widths": (2, 4)},
    "odenet.models.with_skip": lambda: {"net": odenet.models.FCN(_fcn_backbone(), 2)},
    "odenet.layers.Augment": lambda: {"appended": 2},
    "odenet.layers.DropChannels": lambda: {"channels": 2},
    "odenet.layers.Inception": lambda: {"in_channels": 2, "widths": InceptionWidths(1, 1, 1, 1, 1, 1)},
    "odenet.layers.NaiveInception": lambda: {"in_channels": 2, "ones": 1, "threes": 1, "fives": 1},
    "odenet.layers.Parallel": lambda: {"branches": {"a": nn.Conv2d(1, 2, 1)}, "channels": 2},
    "odenet.layers.convolution": lambda: {"in_channels": 2, "channels": 2, "size": 3},
    "odenet.layers.initialize_bilinear": lambda: {"filters": nn.ConvTranspose2d(2, 2, 4, 2, bias=False)},
    "odenet.layers.bilinear_kernel": lambda: {"factor": 2},
    **{
        f"odenet.layers.{name}": lambda: {"in_channels": 2}
        for name in ("BedOfNails", "Bilinear", "MaxUnpooling", "Nearest", "TransposeConvolution")
    },
    "odenet.data.Batches": lambda: {"split": split(), "batch_size": 2, "mean": [0.5], "std": [0.5]},
    "odenet.data.Compose": lambda: {"parts": odenet.data.RandomFlip()},
    "odenet.data.CropBatches": lambda: {"pairs": masked_images(_folder()), "size": 4, "batch_size": 1, "train": True},
    "odenet.data.ImageData": lambda: {"name": "a", "train": split(), "test": split(), "classes": ("a", "b", "c")},
    "odenet.data.MaskedImages": lambda: {
        "images": (_folder() / "images" / "a.png",),
        "masks": (_folder() / "masks" / "a.png",),
        "classes": ("a", "b"),
        "values": (0, 1),
    },
    "odenet.data.PointBatches": lambda: {"split": odenet.data.moons(4), "batch_size": 2},
    "odenet.data.Points": lambda: {"x": torch.zeros(2, 2), "labels": torch.arange(2)},
    **{f"odenet.data.{name}": lambda: {"number": 4} for name in ("annuli", "moons", "spirals", "swapped_line")},
    "odenet.data.DetectionTargets": lambda: {
        "of_images": [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}],
        "sizes": [(4, 4)],
    },
    "odenet.data.DetectionBatches": lambda: {"images": _detection_images(), "batch_size": 2, "train": True},
    "odenet.data.DetectionImages": lambda: {
        "images": (_folder() / "a.png",),
        "sizes": ((4, 4),),
        "objects": ((),),
        "classes": ("a",),
    },
    "odenet.data.coco_folder": lambda: dict(zip(("annotations", "images"), _coco_files(), strict=True)),
    "odenet.data.voc_detection": lambda: {"root": Path("nowhere"), "download": False},
    "odenet.data.ObjectBatches": lambda: {"scenes": odenet.data.Scenes(size=(8, 8)), "count": 2, "batch_size": 2},
    "odenet.data.RandomCrop": lambda: {"padding": 1},
    "odenet.data.SceneBatches": lambda: {"scenes": odenet.data.Scenes(size=(8, 8)), "count": 2, "batch_size": 2},
    "odenet.data.Split": lambda: {"images": torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "labels": torch.arange(2)},
    "odenet.data.garment_scenes": lambda: {"root": Path("nowhere"), "download": False},
    "odenet.data.load": lambda: {"name": "digits", "train_images": 20},
    "odenet.data.masked_folder": lambda: {"folder": _folder(), "classes": ("a", "b"), "values": (0, 1)},
    "odenet.data.voc2012": lambda: {"root": Path("nowhere"), "download": False},
    "odenet.training.AuxiliaryClassification": lambda: {"num_classes": 5, "top": (2,)},
    "odenet.training.EarlyStopping": lambda: {"metric": "test_loss"},
    "odenet.training.Classification": lambda: {"num_classes": 5, "top": (2,)},
    "odenet.training.Detection": lambda: {"classes": ("a", "b")},
    "odenet.training.MultiLabel": lambda: {"classes": ("a", "b")},
    "odenet.training.ParameterGroup": lambda: {"parameters": "head.*"},
    "odenet.training.Run": lambda: {"record": odenet.training.Record("a", "", {}), "path": Path("nowhere.json")},
    "odenet.training.Segmentation": lambda: {"num_classes": 2, "class_weights": (1.0, 2.0)},
    "odenet.training.evaluate": lambda: {
        "model": _flat_net(),
        "task": odenet.training.Classification(3),
        "batches": batches(),
    },
    "odenet.training.fit": lambda: {
        "model": _flat_net(),
        "task": odenet.training.Classification(3),
        "train": batches(),
        "test": None,
        "settings": odenet.training.Training(epochs=1, device="cpu", batch_size=3),
        "seed": 0,
        "folder": tempfile.mkdtemp(dir=_folder()),
        "quiet": True,
    },
    "odenet.training.launch": lambda: {"settings": odenet.training.Training(device="cpu")},
    "odenet.training.load_model": lambda: {"path": _folder() / "model.safetensors"},
    "odenet.training.load_weights": lambda: {"model": MLPBranch(2, 3), "path": _folder() / "weights.safetensors"},
    "odenet.training.parameter_groups": lambda: {"model": _flat_net(), "settings": odenet.training.Training()},
    "odenet.training.refine_optimizer_state": _optimizer_and_nets,
    "odenet.training.save_model": lambda: {
        "model": MLPBranch(2, 3),
        "path": _folder() / "again.safetensors",
        "construction": partial(MLPBranch, 2, 3),
    },
    "odenet.training.save_weights": lambda: {"model": MLPBranch(2, 3), "path": _folder() / "again.safetensors"},
    "odenet.training.seed_everything": lambda: {"seed": 0},
    "odenet.training.segment": lambda: {
        "model": nn.Conv2d(1, 2, 3, padding=1),
        "image": torch.zeros(1, 8, 8),
        "tile": 8,
        "overlap": 1,
        "stride": 1,
        "quiet": True,
    },
    "odenet.measure.activation_bytes": _model_images,
    "odenet.measure.boundary_f1": lambda: {
        "labels": torch.zeros(1, 8, 8, dtype=torch.int64),
        "targets": torch.zeros(1, 8, 8, dtype=torch.int64),
        "num_classes": 2,
        "ignore_index": 255,
    },
    "odenet.measure.checkerboard_energy": lambda: {"maps": torch.rand(1, 1, 8, 8)},
    "odenet.measure.count_evaluations": lambda: {"model": block()},
    "odenet.measure.count_layers": lambda: {"model": block()},
    "odenet.measure.count_multiply_adds": _model_images,
    "odenet.measure.count_operations": _model_images,
    "odenet.measure.count_parameters": lambda: {"model": block()},
    "odenet.measure.distance_to_flow": lambda: {
        "model": _resnet(),
        "images": torch.zeros(1, 3, 8, 8),
        "reference": FixedSteps(per_piece=2),
    },
    "odenet.measure.dropped": lambda: {"block": block(), "index": 1},
    "odenet.measure.final_state": lambda: {"model": _resnet(), "images": torch.zeros(1, 3, 8, 8)},
    "odenet.measure.evaluation_points": lambda: {"block": block(), "x": torch.zeros(1, 2)},
    "odenet.measure.finite_time_exponents": lambda: {"block": block(), "x": torch.zeros(1, 2)},
    "odenet.measure.lyapunov_exponents": lambda: {"block": block(), "x": torch.zeros(1, 2)},
    "odenet.measure.principal_path": lambda: {"states": torch.randn(3, 4, 5)},
    "odenet.measure.require_plane": lambda: {"x": torch.zeros(1, 2)},
    "odenet.measure.residual_alignment": lambda: {"block": block(), "x": torch.zeros(1, 2), "number": 1},
    "odenet.measure.solve_path": lambda: {"block": block(), "x": torch.zeros(1, 2)},
    "odenet.measure.vector_field": lambda: {"block": block(), "x": torch.zeros(1, 2)},
    "odenet.measure.interleaved": lambda: {"contestants": {"a": int}, "repetitions": 1},
    "odenet.measure.largest_eigenvalues": lambda: {"field": torch.neg, "x": torch.ones(2, 20), "number": 3},
    "odenet.measure.latencies": lambda: {
        "model": nn.Conv2d(1, 2, 3),
        "shape": (1, 8, 8),
        "batch_sizes": [1],
        "repetitions": 1,
    },
    "odenet.measure.layer_gradients": lambda: {
        "model": nn.Linear(2, 2),
        "inputs": torch.zeros(1, 2),
        "cost": torch.sum,
    },
    "odenet.measure.measure_energy": lambda: {
        "work": int,
        "seconds": 0.02,
        "power": float,
        "interval": 0.005,
    },
    "odenet.measure.observed_order": lambda: {"steps": [1, 2], "errors": [1.0, 0.5]},
    "odenet.measure.output_distance": lambda: {
        "before": nn.Linear(2, 2),
        "after": nn.Linear(2, 2),
        "x": torch.ones(1, 2),
    },
    "odenet.measure.peak_bytes": lambda: {"work": int},
    "odenet.measure.peak_cuda_bytes": lambda: {"work": int},
    "odenet.measure.ratio": lambda: {"seconds": {"a": [1.0], "b": [2.0]}, "name": "a", "baseline": "b"},
    "odenet.measure.relative_distance": lambda: {"found": torch.ones(2, 3), "expected": torch.ones(2, 3)},
    "odenet.measure.reach": lambda: {"net": nn.Conv2d(1, 1, 3, padding=1), "in_channels": 1},
    "odenet.measure.receptive_field": lambda: {"net": nn.Conv2d(1, 1, 3), "shape": (1, 9, 9), "row": 3},
    "odenet.measure.stability_function": lambda: {"tableau": Euler.tableau, "z": np.zeros(2, complex)},
    "odenet.measure.state_roughness": lambda: {"block": block(), "x": torch.zeros(1, 2)},
    "odenet.measure.swapped": lambda: {"block": block(), "index": 0},
    "odenet.measure.theta_roughness": lambda: {"theta": block().theta},
    "odenet.measure.visited_states": lambda: {"block": block(), "x": torch.zeros(1, 2)},
    "odenet.measure.weight_movement": lambda: dict.fromkeys(["before", "after"], nn.Linear(1, 1).state_dict()),
}
"""Arguments that are right, by callable; those without an entry are called without any."""

NEEDS_WHAT_IS_NOT_HERE = {
    "odenet.data.garment_scenes",
    "odenet.data.voc2012",
    "odenet.data.voc_detection",
    "odenet.measure.peak_cuda_bytes",
}
"""Right arguments raise where a data set or a device is absent; bad ones are refused before."""


ZERO_IS_MEANT = {
    *((f"odenet.models.{name}", "mean") for name in ("fcos", "retinanet", "faster_rcnn", "mask_rcnn")),
    ("odenet.Adaptive", "rtol"),
    ("odenet.Adaptive", "atol"),
    ("odenet.ContinuousAdjoint", "rtol"),
    ("odenet.data.garment_scenes", "smallest"),
    ("odenet.ContinuousAdjoint", "atol"),
    ("odenet.Spline", "degree"),
    ("odenet.trajectory", "times"),
    ("odenet.models.FCN", "padding"),
    ("odenet.models.AlexNet", "dropout"),
    ("odenet.models.GoogLeNet", "dropout"),
    ("odenet.models.TwoTowerAlexNet", "dropout"),
    ("odenet.models.VGG", "dropout"),
    ("odenet.models.googlenet", "dropout"),
    ("odenet.models.googlenet_bn", "dropout"),
    ("odenet.models.vgg16", "dropout"),
    ("odenet.models.vgg19", "dropout"),
    ("odenet.models.alexnet", "dropout"),
    ("odenet.models.alexnet_towers", "dropout"),
    ("odenet.models.UNet", "shrinkage"),
    ("odenet.layers.TransposeConvolution", "padding"),
    ("odenet.data.Batches.epoch", "epoch"),
    ("odenet.data.Batches.global_size", "index"),
    ("odenet.data.CropBatches.epoch", "epoch"),
    ("odenet.data.PointBatches", "seed"),
    ("odenet.data.PointBatches.epoch", "epoch"),
    *((f"odenet.data.{name}", "noise") for name in ("moons", "spirals", "swapped_line")),
    ("odenet.data.SceneBatches.epoch", "epoch"),
    ("odenet.data.ObjectBatches.epoch", "epoch"),
    ("odenet.data.DetectionBatches.epoch", "epoch"),
    ("odenet.data.DetectionBatches.epoch", "start"),
    ("odenet.data.DetectionImages.read", "index"),
    ("odenet.data.MaskedImages.read", "index"),
    ("odenet.data.Scenes.draw", "indices"),
    ("odenet.data.Batches", "mean"),
    ("odenet.data.MaskedImages", "values"),
    ("odenet.data.Scenes", "clutter"),
    ("odenet.data.Scenes", "smallest"),
    ("odenet.data.masked_folder", "values"),
    ("odenet.training.AuxiliaryClassification", "weight"),
    ("odenet.training.ParameterGroup", "weight_decay"),
    ("odenet.training.Segmentation", "ignore_index"),
    ("odenet.training.Training", "checkpoint_seconds"),
    ("odenet.training.Training", "momentum"),
    ("odenet.training.Training", "warmup"),
    ("odenet.training.Training", "weight_decay"),
    ("odenet.training.fit", "seed"),
    ("odenet.training.Run.fit", "seed"),
    ("odenet.training.seed_everything", "seed"),
    ("odenet.training.segment", "overlap"),
    ("odenet.measure.boundary_f1", "ignore_index"),
    ("odenet.measure.boundary_f1", "tolerance"),
    ("odenet.measure.dropped", "index"),
    ("odenet.measure.interleaved", "warm_up"),
    ("odenet.measure.latencies", "warm_up"),
    ("odenet.measure.plane_grid", "low"),
    ("odenet.measure.plane_grid", "high"),
    ("odenet.measure.receptive_field", "row"),
    ("odenet.measure.swapped", "index"),
}
"""Where 0 is a value like others though it is no default."""

NEGATIVE_IS_MEANT = {
    ("odenet.measure.plane_grid", "low"),
    ("odenet.measure.plane_grid", "high"),
    *((f"odenet.models.{name}", "mean") for name in ("fcos", "retinanet", "faster_rcnn", "mask_rcnn")),
    ("odenet.data.Batches", "mean"),
    ("odenet.training.Segmentation", "ignore_index"),
    ("odenet.measure.boundary_f1", "ignore_index"),
    ("odenet.models.SigmoidChain", "weights"),
    *((name, option) for name in ADAPTIVES for option in ("step_t", "jump_t")),
}
"""Where the number may be any."""

INFINITY_IS_MEANT = {(name, "max_step") for name in ADAPTIVES}
"""Where the number may be infinite."""

EMPTY_IS_MEANT = {
    ("odenet.trajectory", "times"),
    ("odenet.ButcherTableau", "a"),
    ("odenet.training.Training", "milestones"),
    ("odenet.data.Compose", "parts"),
    ("odenet.data.Scenes.draw", "indices"),
    ("odenet.models.UNet", "ups"),
    ("odenet.models.UNet", "up"),
    ("odenet.models.PatchClassifier", "stages"),
    ("odenet.measure.latencies", "batch_sizes"),
    ("odenet.measure.weight_movement", "before"),
    ("odenet.models.from_torchvision", "model"),
    ("odenet.training.Run.note", "fingerprints"),
    *((name, option) for name in ADAPTIVES for option in ("step_t", "jump_t")),
}
"""Where nothing is an answer to nothing."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a callable, and what its annotation says."""

    callable_name: str
    name: str
    hint: Any
    default: Any

    @property
    def place(self) -> tuple[str, str]:
        return self.callable_name, self.name

    def __str__(self) -> str:
        return f"{self.callable_name}({self.name})"


class _Thing:
    """An object that is nothing in particular."""

    def __repr__(self) -> str:
        return "a thing"


POOL: Mapping[str, st.SearchStrategy[Any]] = {
    "None": st.none(),
    "text": st.sampled_from(["0.1", "abc", "3", "", "None"]),
    "boolean": st.sampled_from([True, False]),
    "boolean of NumPy": st.sampled_from([np.True_, np.False_]),
    "whole": st.sampled_from([3, np.int64(3)]) | st.integers(1, 99),
    "negative": st.integers(-99, -1),
    "zero": st.sampled_from([0, 0.0]),
    "fraction": st.sampled_from([2.5, 0.5, Fraction(5, 2), np.float32(1.5)]) | st.floats(1e-3, 99),
    "negative fraction": st.floats(-99, -1e-3),
    "NaN": st.sampled_from([math.nan, np.float64("nan")]),
    "infinity": st.sampled_from([math.inf, -math.inf]),
    "vast": st.sampled_from([10**30, -(10**30)]),
    "complex": st.sampled_from([1j, 2 + 1j]),
    "array": st.sampled_from([np.ones(2), np.ones((2, 2), dtype=int)]),
    "tensor": st.sampled_from([torch.ones(2), torch.ones(2, 2, dtype=torch.int64)]),
    "no entries": st.sampled_from([(), [], {}]),
    "list": st.sampled_from([[1.5], [None], ["a", "b"], [1, 2], [True], [-1], [math.nan]]),
    "dict": st.sampled_from([{"a": 1}, {1: 2}]),
    "bytes": st.just(b"1"),
    "object": st.just(_Thing()),
    "class": st.sampled_from([nn.ReLU, _Thing]),
    "module": st.just(nn.ReLU()),
}
"""Values of all kinds; which of them are bad for a parameter, its annotation says."""


def may_mean(hint: Any, value: Any, parameter: Parameter) -> bool:
    """Whether a value can be meant where the annotation is `hint`, as far as that says."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return may_mean(arguments[0], value, parameter)
    if origin in (Union, UnionType):
        if torch.device in arguments and isinstance(value, str):
            return False  # no device has a name of `POOL`
        return any(may_mean(argument, value, parameter) for argument in arguments)
    if isinstance(hint, TypeVar):
        return may_mean(hint.__bound__, value, parameter)
    if hint is Any or hint is object:
        return True
    if hint is None or hint is NoneType:
        return value is None
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if hint in (int, float, Fraction):
        return _may_be_number(hint, value, parameter)
    if hint is str:
        return isinstance(value, str)
    if hint is Path or origin is PathLike or hint is PathLike:
        return isinstance(value, str | PathLike)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin in (collections.abc.Mapping, dict):
        return isinstance(value, Mapping) and _may_be_entries(arguments[1], list(value.values()), parameter)
    if origin is not None:  # tuples, sequences, iterables
        iterable = (list, tuple, dict, set) if origin is collections.abc.Iterable else (list, tuple)
        return isinstance(value, iterable) and _may_be_entries(arguments[0], list(value), parameter)
    return inspect.isclass(hint) and not getattr(hint, "_is_protocol", False) and isinstance(value, hint)


def _may_be_entries(hint: Any, entries: list[Any], parameter: Parameter) -> bool:
    if not entries:
        return parameter.place in EMPTY_IS_MEANT or parameter.default == ()
    return all(may_mean(hint, entry, parameter) for entry in entries)


def _may_be_number(kind: Any, value: Any, parameter: Parameter) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral if kind is int else Real):
        return False
    number = float(value)
    if number == math.inf and parameter.place in INFINITY_IS_MEANT:
        return True
    if not math.isfinite(number) or (kind is int and abs(number) >= 2**64):
        return False
    if number == 0:
        return parameter.default == 0 or parameter.place in ZERO_IS_MEANT
    return number > 0 or parameter.place in NEGATIVE_IS_MEANT


@cache
def callables() -> dict[str, Callable[..., Any]]:
    """All public classes and functions that a user calls, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for wing in WINGS:
        module = import_module(wing)
        for name in module.__all__:
            value, full = getattr(module, name), f"{wing}.{name}"
            is_error = inspect.isclass(value) and issubclass(value, BaseException)
            if not (inspect.isclass(value) or inspect.isfunction(value)) or is_error or inspect.isabstract(value):
                continue
            if full not in NOT_CALLED_BY_USERS:
                found[full] = value
    found |= {name: _method(name) for name in METHODS}
    return found | {name: _setter(name) for name in SETTERS} | dict(ADAPTIVES)


def _method(name: str) -> Callable[..., Any]:
    """The method of a new object."""
    return getattr(METHODS[name](_folder()), name.rpartition(".")[2])


def _setter(name: str) -> Callable[..., None]:
    """Sets the attribute of a new object each time."""

    def assign(**values: Any) -> None:
        instance = SETTERS[name][0]()
        for attribute, value in values.items():
            setattr(instance, attribute, value)

    return assign


def right(name: str) -> dict[str, Any]:
    """Arguments with which a call of the callable means something."""
    if name in SETTERS:
        return {name.rpartition(".")[2]: SETTERS[name][2]()}
    return RIGHT_OF_METHODS[name](_folder()) if name in RIGHT_OF_METHODS else RIGHT.get(name, dict)()


@cache
def parameters(name: str) -> list[Parameter]:
    """The parameters of a callable whose annotation excludes anything, those that its **options take among them."""
    if name in SETTERS:
        attribute = name.rpartition(".")[2]
        return [Parameter(name, attribute, SETTERS[name][1], inspect.Parameter.empty)]
    if name in ADAPTIVES:
        return [Parameter(name, *option) for option in options_of_adaptive(name)]
    target = callables()[name]
    found = _parameters_of(name, target)
    if name in OPTIONS:
        other, given = OPTIONS[name]
        given = given | {parameter.name for parameter in found}
        found += [parameter for parameter in _parameters_of(name, other) if parameter.name not in given]
    return found


def takes_options(name: str) -> bool:
    """Whether a callable takes **options, whose names its signature does not say."""
    kinds = [entry.kind for entry in inspect.signature(callables()[name]).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds and name not in SETTERS and name not in ADAPTIVES


def _parameters_of(name: str, target: Callable[..., Any]) -> list[Parameter]:
    made_by = target.__init__ if inspect.isclass(target) else target
    found = []
    for entry in inspect.signature(target).parameters.values():
        hint = _hint(made_by, entry.name)
        if entry.kind is not entry.VAR_KEYWORD and hint not in (Any, object):
            found.append(Parameter(name, entry.name, hint, entry.default))
    return found


def _hint(function: Any, name: str) -> Any:
    """The annotation, with names that are known to type checkers alone left out."""
    function = inspect.unwrap(function)
    annotation = function.__annotations__.get(name, Any)
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    try:
        return eval(annotation, function.__globals__) if isinstance(annotation, str) else annotation
    except NameError:
        return nn.Module if "torchvision" in annotation.lower() else Any


def bad_values(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Values that the parameter cannot mean."""
    drawn = st.sampled_from(sorted(POOL)).flatmap(lambda kind: POOL[kind])
    return drawn.filter(lambda value: not may_mean(parameter.hint, value, parameter))


def fixed_values(parameter: Parameter) -> Iterator[tuple[str, Any]]:
    """One bad value of each kind: the first that the parameter cannot mean."""
    for kind, values in POOL.items():
        for value in _FIXED[kind]:
            if not may_mean(parameter.hint, value, parameter):
                yield kind, value
                break
        del values


_FIXED: Mapping[str, list[Any]] = {
    "None": [None],
    "text": ["0.1", "abc"],
    "boolean": [True],
    "boolean of NumPy": [np.True_],
    "whole": [3],
    "negative": [-1],
    "zero": [0],
    "fraction": [2.5],
    "negative fraction": [-0.5],
    "NaN": [math.nan],
    "infinity": [math.inf],
    "vast": [10**30],
    "complex": [1j],
    "array": [np.ones(2)],
    "tensor": [torch.ones(2)],
    "no entries": [(), {}],
    "list": [[1.5], [None]],
    "dict": [{"a": 1}],
    "bytes": [b"1"],
    "object": [_Thing()],
    "class": [_Thing],
    "module": [nn.ReLU()],
}


class _TooLong(BaseException):
    """A call took longer than any refusal may."""


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def call(name: str, arguments: Mapping[str, Any], target: Callable[..., Any] | None = None) -> Any:
    """The callable with these arguments; networks on the meta device, where they cost nothing.

    A method is that of a new object unless a `target` is given, because a call that is right may change the object.
    """
    target = target or (_method(name) if name in METHODS else callables()[name])
    positional = [p.name for p in inspect.signature(target).parameters.values() if p.kind is p.VAR_POSITIONAL]
    named = {key: value for key, value in arguments.items() if key not in positional}
    makes_network = (
        name.startswith("odenet.models.") and not {"model", "net", "classifier", "backbone"} & arguments.keys()
    )
    with _within(20), warnings.catch_warnings(), torch.device("meta") if makes_network else nullcontext():
        warnings.simplefilter("ignore")
        result = target(*[arguments[key] for key in positional if key in arguments], **named)
        if isinstance(result, AbstractContextManager) and inspect.isgenerator(getattr(result, "gen", None)):
            with result:
                return None
        return result


def fault(parameter: Parameter, value: Any) -> str | None:
    """What is wrong with the answer to a bad call; None where it is refused as it should be."""
    arguments = right(parameter.callable_name) | {parameter.name: value}
    try:
        call(parameter.callable_name, arguments, callables()[parameter.callable_name])
    except (ValueError, TypeError) as error:
        return None if _is_clear(error, parameter, value) else f"confusing: {type(error).__name__}: {error}"
    except (Exception, _TooLong) as error:
        return f"confusing: {type(error).__name__}: {error}"
    return "accepted"


def _is_clear(error: Exception, parameter: Parameter, value: Any) -> bool:
    """Whether the message is the library's own, names the parameter or the value, and says what to do."""
    message, frame = str(error), traceback.extract_tb(error.__traceback__)[-1]
    own = f"{Path(odenet.__file__).parent}/" in frame.filename and (frame.line or "").lstrip().startswith(
        ("raise", "return", ")", 'f"')
    )
    names = bool(re.search(rf"\b{re.escape(parameter.name)}\b", message))
    first = next(iter(value), value) if isinstance(value, list | dict) else value
    shows = any(type(part).__name__ in message for part in (value, first)) or (
        len(repr(value)) > 1 and bool(re.search(rf"(?<!\w){re.escape(repr(value))}(?!\w)", message))
    )
    return own and (names or shows) and len(re.split(r"[;:] ", message)) > 1


def examples() -> int:
    """How many bad calls are drawn of each callable: more of them by `ODENET_DRILLS=1`."""
    return 400 if os.environ.get("ODENET_DRILLS") else 4


def main() -> None:
    """Count the faults of one bad value of each kind for each parameter."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    counts: Counter[str] = Counter()
    for name in callables():
        if only not in name:
            continue
        try:
            call(name, right(name))
        except Exception as error:
            if name not in NEEDS_WHAT_IS_NOT_HERE:
                print(f"RIGHT {name}: {type(error).__name__}: {error}", flush=True)
        for parameter in parameters(name):
            for kind, value in fixed_values(parameter):
                found = fault(parameter, value)
                counts["calls"] += 1
                if found is not None:
                    counts[found.partition(":")[0]] += 1
                    print(f"{parameter} {kind}: {' '.join(found.split())[:150]}", flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main()
