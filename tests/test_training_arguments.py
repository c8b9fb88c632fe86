"""Invalid arguments of a training are refused by name, with advice, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from odenet.data import load
from odenet.models import resnet20
from odenet.training import Classification, Training, evaluate, fit
from odenet.training.arguments import require_same_device
from tests.training_cases import SETTINGS, TASK, evaluation_batches, plain_net, split, train_batches


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(8, 1, 4, 4), torch.zeros(8).long()), 4)


BATCHES: dict[str, tuple[Callable[[], Any], str]] = {
    "DataLoader": (
        loader,
        r": each batch must be a function of.*of a DataLoader depend.*Pass data.train_batches\(batch_size\)",
    ),
    "dataset": (lambda: loader().dataset, r"\(TensorDataset\): each batch"),
    "split": (split, r"Split\(46 images of 1×4×4 on cpu\) \(Split\): each batch"),
    "data": (lambda: load("digits"), r"\(ImageData\): each batch"),
    "list": (lambda: list(train_batches().epoch(0)), r"\(list\): each batch"),
    "class": (lambda: type(train_batches()), r"the class Batches\): each batch"),
    "tensor": (lambda: torch.zeros(3, 1, 4, 4), r"\(Tensor\): each batch"),
    "a loader with a split": (
        lambda: SimpleNamespace(split=split(), __len__=None),
        r"\(SimpleNamespace\): each batch",
    ),
}

WRONG: dict[str, tuple[str, Callable[[], Any], str]] = {
    "a function for a model": (
        "model",
        lambda: resnet20,
        r"model must be a torch.nn.Module, got .*function\): call the",
    ),
    "a class for a model": ("model", lambda: nn.Flatten, r"model must be .*, got .*the class Flatten\)"),
    "no model": ("model", lambda: None, r"model must be .*, got None \(NoneType\)"),
    "a state dict": ("model", lambda: plain_net().state_dict(), r"model must be .*, got .*\(OrderedDict\)"),
    "a class for a task": (
        "task",
        lambda: Classification,
        r"task must be a task, got .*the class Classification\).*make one",
    ),
    "a loss for a task": (
        "task",
        nn.CrossEntropyLoss,
        r"task must be .*, got CrossEntropyLoss\(\) \(CrossEntropyLoss\)",
    ),
    "a number for a task": ("task", lambda: 10, r"got 10 \(int\): it defines the loss and the metrics"),
    "no batches": ("train", lambda: None, r"train must be a BatchSource, got None \(NoneType\)"),
    "a dictionary of settings": (
        "settings",
        lambda: {"epochs": 1},
        r"settings must be a Training, got {'epochs': 1} \(dict\)",
    ),
    "a class of settings": ("settings", lambda: Training, r"settings must be .*, got .*the class Training\)"),
    "no settings": ("settings", lambda: None, r"settings must be .*, got None \(NoneType\)"),
    "no seed": ("seed", lambda: None, "seed must be a whole number, got None"),
    "a seed of text": ("seed", lambda: "0", "seed must be a whole number, got '0'"),
    "a fractional seed": ("seed", lambda: 0.5, "seed must be a whole number, got 0.5"),
    "a truth for a seed": ("seed", lambda: True, "seed must be a whole number, got True"),
    "no folder": ("folder", lambda: None, r"folder must be the path of .*, got None \(NoneType\)"),
    "a number for a folder": ("folder", lambda: 3, r"folder must be .*, got 3 \(int\)"),
    "the name of an optimizer": ("optimizer", lambda: "sgd", r"optimizer must be .*, got 'sgd' \(str\): pass SGD"),
    "a class of optimizers": ("optimizer", lambda: torch.optim.SGD, r"optimizer must be .*, got .*the class SGD\)"),
    "no label": ("label", lambda: None, r"label must be a string, got None \(NoneType\)"),
    "a text for quiet": ("quiet", lambda: "no", r"quiet must be True or False, got 'no' \(str\)"),
}


def arguments(path: Path, **others: Any) -> dict[str, Any]:
    return {
        "model": plain_net(),
        "task": TASK,
        "train": train_batches(),
        "test": evaluation_batches(),
        "settings": SETTINGS,
        "seed": 0,
        "folder": path,
        "quiet": True,
    } | others


@pytest.mark.parametrize("case", WRONG)
def test_an_argument_of_another_kind_is_refused_by_its_name(case: str, tmp_path: Path) -> None:
    name, value, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        fit(**arguments(tmp_path, **{name: value()}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["train", "test", "batches"])
@pytest.mark.parametrize("case", BATCHES)
def test_an_object_that_is_not_a_batch_source_is_refused(part: str, case: str, tmp_path: Path) -> None:
    value, message = BATCHES[case]
    given = arguments(tmp_path, **{part: value()})
    call = partial(evaluate, plain_net(), TASK, value()) if part == "batches" else partial(fit, **given)
    with pytest.raises(TypeError, match=rf"^{part} must be a BatchSource, got .*{message}"):
        call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model", "task"])
def test_an_evaluation_refuses_what_a_training_refuses(name: str) -> None:
    given: dict[str, Any] = {"model": plain_net(), "task": TASK, "batches": evaluation_batches(), name: 3}
    with pytest.raises(TypeError, match=rf"{name} must be .*, got 3 \(int\)"):
        evaluate(**given)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_model_of_another_precision_is_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"weights of {dtype} cannot be trained.*Call model.float\(\) first"):
        fit(**arguments(tmp_path, model=plain_net().to(dtype)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"folder must be a folder, got the file .*: the checkpoint is written to it"):
        fit(**arguments(tmp_path, folder=tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_an_epoch_without_a_batch_is_refused(tmp_path: Path) -> None:
    class Empty:
        split = split()

        def __len__(self) -> int:
            return 0

        def epoch(self, epoch: int, start: int = 0) -> Any: ...

    with pytest.raises(ValueError, match=r"train must have at least one batch in an epoch, got .*Empty\) without any"):
        fit(**arguments(tmp_path, train=Empty()))


def test_batches_on_another_device_are_refused_with_both() -> None:
    message = r"batches train must be on 'cuda', got batches on 'cpu'.*or train with device='cpu'"
    with pytest.raises(ValueError, match=message):
        require_same_device("train", train_batches(), torch.device("cuda"))
    require_same_device("train", train_batches(), torch.device("cpu"))
