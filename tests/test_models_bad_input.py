"""Every network refuses images that are too small or have other channels, and numbers of classes that do not fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import nn

from odenet import models
from odenet.training import Classification

CLASSIFIERS = ("alexnet", "googlenet", "odenet", "plain", "resnet", "resnext", "vgg")
"""Names of the modules with networks that classify whole images."""


def _constructors() -> dict[str, Callable[..., nn.Module]]:
    found = {}
    for name in models.__all__:
        make = getattr(models, name)
        if inspect.isfunction(make) and make.__module__.rpartition(".")[2] in CLASSIFIERS:
            required = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
            if not [p for p in required if p.kind is not p.VAR_KEYWORD]:
                found[name] = make
    return found


NETWORKS = _constructors()


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "googlenet_bn", "vgg16", "resnet18", "resnet110", "plain20"])
def test_the_networks_of_the_lecture_are_among_them(name):
    assert name in NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_images_that_are_too_small_or_of_other_channels_are_refused_with_what_to_do(name):
    with torch.device("meta"):
        net = NETWORKS[name](in_channels=2)
        with pytest.raises(ValueError, match=r"was given images of 1×1 pixels; .* below (\d+)×\1: enlarge the images"):
            net(torch.empty(2, 2, 1, 1))
        with pytest.raises(ValueError, match=r"takes \(batch, 2, height, width\): .* in_channels=5"):
            net(torch.empty(2, 5, 64, 64))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [0, 2.5])
def test_a_number_of_classes_that_is_none_is_refused(name, classes):
    with pytest.raises((TypeError, ValueError), match=f"num_classes must be a whole number.*, got {classes}"):
        NETWORKS[name](num_classes=classes)


def test_a_net_of_another_number_of_classes_than_the_task_is_refused_at_the_loss():
    outputs = models.resnet20(num_classes=7, in_channels=1)(torch.randn(2, 1, 8, 8))
    with pytest.raises(ValueError, match=r"outputs must have the shape .*: build the network for num_classes=10"):
        Classification(10).loss(outputs, torch.tensor([0, 9]))


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match="labels must be from 0 to 9 for num_classes=10, got 10"):
        Classification(10).check(torch.tensor([3, 10]))


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_weights_for_another_number_of_classes_are_refused_by_name(name):
    with torch.device("meta"):
        net, weights = NETWORKS[name](num_classes=7), NETWORKS[name]().state_dict()
        with pytest.raises(RuntimeError, match=r"size mismatch for classifier.6.weight.*\[1000, 4096\].*\[7, 4096\]"):
            net.load_state_dict(weights)
