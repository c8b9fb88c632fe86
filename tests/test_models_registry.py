"""Every network can be built by its name, also through torch.hub, and an unknown name is answered with the nearest."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import odenet.models
from odenet.models import get_constructor, get_model, list_models

ROOT = Path(__file__).parents[1]


def is_constructor(name: str) -> bool:
    """Whether a name is that of a function of num_classes and in_channels, as torchvision's constructors are."""
    value = getattr(odenet.models, name)
    return inspect.isfunction(value) and list(inspect.signature(value).parameters)[:2] == ["num_classes", "in_channels"]


def test_every_constructor_of_a_network_is_listed():
    assert list_models() == sorted(filter(is_constructor, odenet.models.__all__))


def test_a_name_builds_what_its_constructor_builds():
    for name in list_models():
        assert get_constructor(name) is getattr(odenet.models, name)
    torch.manual_seed(0)
    by_name = get_model("resnet20", num_classes=3, in_channels=1)
    torch.manual_seed(0)
    built = odenet.models.resnet20(num_classes=3, in_channels=1)
    assert all(torch.equal(a, b) for a, b in zip(by_name.parameters(), built.parameters(), strict=True))


@pytest.mark.parametrize("name", list_models())
def test_every_network_is_built_with_the_classes_and_channels_that_are_asked_for(name):
    with torch.device("meta"):
        net = get_model(name, num_classes=3, in_channels=2)
    assert next(p for p in net.parameters() if p.dim() == 4).shape[1] == 2


def test_a_pattern_names_a_family():
    assert list_models("plain?8") == ["plain18"]
    assert list_models("resnext*") == ["resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d"]
    assert list_models("nothing") == []


@pytest.mark.parametrize(
    ("name", "nearest"), [("resnet21", "resnet20"), ("ResNet-20", "resnet20"), ("vgg61", "vgg16"), ("u-net", "unet")]
)
def test_an_unknown_name_is_answered_with_the_nearest_ones(name, nearest):
    number = len(list_models())
    message = (
        rf"unknown network '{name}'; the nearest names are .*{nearest}.*list_models\(\) returns all {number} names"
    )
    with pytest.raises(ValueError, match=message):
        get_model(name)


def test_a_name_like_no_other_is_answered_with_where_the_names_are():
    with pytest.raises(ValueError, match=r"unknown network 'zzzz'\. list_models\(\) returns all"):
        get_constructor("zzzz")


def test_an_option_that_the_network_has_not_is_refused():
    with pytest.raises(TypeError, match="depth"):
        get_model("resnet20", depth=3)


def test_torch_hub_lists_and_builds_the_same_networks():
    entries = runpy.run_path(str(ROOT / "hubconf.py"))
    listed = [name for name in entries if callable(entries[name]) and not name.startswith("_")]  # as torch.hub does
    assert sorted(listed) == sorted(entries["__all__"]) == list_models()
    net: Any = torch.hub.load(str(ROOT), "resnet20", source="local", num_classes=4, in_channels=1)
    assert net(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def test_torch_hub_asks_for_the_dependencies_of_the_package():
    hub = (ROOT / "hubconf.py").read_text("utf-8")
    needed = re.findall(r'"(\w+)"', re.findall(r"^dependencies = .*$", hub, re.MULTILINE)[0])
    from tests.test_repository import project

    assert needed == [re.split("[>=]", name)[0] for name in project(ROOT)["dependencies"]]
