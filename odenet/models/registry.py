"""Registry of the networks: `get_model("resnet20")` builds one by its name, and `list_models()` returns all names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Annotated, Any

from torch import nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.models.alexnet import alexnet
from odenet.models.alexnet_towers import alexnet_towers
from odenet.models.deconvnet import deconvnet
from odenet.models.fcn import fcn, fcn8s, fcn16s, fcn32s
from odenet.models.googlenet import googlenet, googlenet_bn
from odenet.models.odenet import ode_net, res_net, rk_net
from odenet.models.plain import plain18, plain20, plain32, plain34, plain44, plain56, plain110
from odenet.models.resnet import (
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
    resnet1202,
)
from odenet.models.resnext import (
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from odenet.models.unet import unet
from odenet.models.vgg import vgg16, vgg19

_CONSTRUCTORS: tuple[Callable[..., nn.Module], ...] = (
    *(resnet18, resnet34, resnet50, resnet101, resnet152),
    *(resnet20, resnet32, resnet44, resnet56, resnet110, resnet1202),
    *(resnext50_32x4d, resnext101_32x8d, resnext101_64x4d, wide_resnet50_2, wide_resnet101_2),
    *(plain18, plain34, plain20, plain32, plain44, plain56, plain110),
    *(ode_net, rk_net, res_net),
    *(googlenet, googlenet_bn, alexnet, alexnet_towers, vgg16, vgg19),
    *(fcn32s, fcn16s, fcn8s, fcn, deconvnet, unet),
)

_NETWORKS = {constructor.__name__: constructor for constructor in _CONSTRUCTORS}


@checked
def list_models(pattern: str | None = None) -> list[str]:
    """Return the names of the networks that `get_model` builds, in alphabetical order.

    >>> list_models("fcn*")
    ['fcn', 'fcn16s', 'fcn32s', 'fcn8s']

    Args:
        pattern: Pattern of the names, with * and ? as in a shell; by default all names are returned.
    """
    return sorted(name for name in _NETWORKS if pattern is None or fnmatchcase(name, pattern))


@checked
def get_model(name: str, **options: Annotated[Any, Inside()]) -> nn.Module:
    """Build the network with this name, as its constructor in `odenet.models` does.

    >>> net = get_model("resnet20", num_classes=2, in_channels=1)

    Args:
        name: Name of the network, one of `list_models()`.
        options: Arguments of the constructor: num_classes, in_channels and those of the network.

    Raises:
        ValueError: if there is no such network; the message gives the nearest names.
    """
    return get_constructor(name)(**options)


@checked
def get_constructor(name: str) -> Callable[..., nn.Module]:
    """Return the constructor of the network with this name, such as the function `resnet20`.

    Args:
        name: Name of the network, one of `list_models()`.

    Raises:
        ValueError: if there is no such network; the message gives the nearest names.
    """
    if name in _NETWORKS:
        return _NETWORKS[name]
    near = difflib.get_close_matches(name.lower().replace("-", ""), _NETWORKS, n=3, cutoff=0.5)
    hint = f"; the nearest names are {', '.join(near)}." if near else "."
    raise ValueError(f"unknown network {name!r}{hint} list_models() returns all {len(_NETWORKS)} names.")
