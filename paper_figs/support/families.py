"""Families of networks, which figures distinguish by colour, and the display names of networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes

from paper_figs.support.style import COLOURS

FAMILIES = {
    "linear": ("linear",),
    "alexnet": ("alexnet",),
    "vgg": ("vgg", "conv"),
    "googlenet": ("googlenet", "inception"),
    "plain": ("plain",),
    "resnet": ("resnet", "res_net"),
    "ode_net": ("ode_net", "rk_net"),
}
"""Prefixes of the names in each family; the colour of a family is the one in `COLOURS`."""

KINDS = {
    "linear": "linear",
    "alexnet": "AlexNet",
    "vgg": "VGG",
    "googlenet": "Inception",
    "plain": "plain",
    "resnet": "ResNet",
    "ode_net": "ODE-Net",
}
"""Names of the families in legends."""

_DISPLAY_NAMES = {
    "alexnet": "AlexNet",
    "googlenet_bn": "GoogLeNet",
    "googlenet": "GoogLeNet (1st)",
    "inception": "Inception",
    "res_net": "ResNet-6",
    "rk_net": "RK-Net",
    "ode_net": "ODE-Net",
}


def family(net: str) -> str:
    """Return the family of a network, given its name in the record."""
    return next(kind for kind, beginnings in FAMILIES.items() if net.startswith(beginnings))


def colour(net: str) -> str:
    """Return the colour of a network's family."""
    return COLOURS[family(net)]


def written(net: str) -> str:
    """Return the name of a network as figures show it.

    >>> written("resnet50"), written("vgg16"), written("plain20/2"), written("rk_net16")
    ('ResNet-50', 'VGG-16', 'plain-20/2', 'RK-Net 16')
    """
    base = net.rstrip("0123456789/")
    number = net[len(base) :]
    if base in _DISPLAY_NAMES:
        return f"{_DISPLAY_NAMES[base]} {number}".strip()
    name = {"resnet": "ResNet", "vgg": "VGG"}.get(base, base)
    return f"{name}-{number}" if number else name


def legend_of(axes: Axes, nets: Iterable[str]) -> list[Any]:
    """Return a legend entry, a disc, for each family among the nets, in the order of `FAMILIES`."""
    present = {family(net) for net in nets}
    return [
        axes.scatter([], [], s=40, color=COLOURS[kind], alpha=0.8, linewidth=0, label=label)
        for kind, label in KINDS.items()
        if kind in present
    ]
