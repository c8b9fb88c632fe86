"""Parameter groups: a learning rate, weight decay and ε for each parameter, as settings say by depth and by name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import nn

from odenet.blocks.arguments import checked
from odenet.training.depth_rules import Factors, depth_factors
from odenet.training.settings import ParameterGroup, Training

Groups = list[dict[str, Any]]
"""List of parameter groups in the form that `torch.optim` accepts."""

ADAM_EPS = 1e-8
"""Default of ε in Adam and AdamW (Kingma & Ba 2015)."""


class _Group(NamedTuple):
    """Key of a group of parameters; groups without factors are sorted first, and among them those that decay."""

    factors: Factors
    decays: bool
    in_flow: bool

    @property
    def order(self) -> tuple[bool, bool]:
        return self.factors != Factors(), not self.decays


@checked
def parameter_groups(model: nn.Module, settings: Training) -> Groups:
    """Return groups of the parameters of `model` that require a gradient, for an optimizer of torch of your own.

    Their learning rates are the peaks of the schedule, so `fit` keeps their ratios. In a group of a depth rule the key
    "depth_rule" names it, from which `refine_optimizer_state` sets the learning rates of a refined network.

    >>> from torch.optim import SGD
    >>> from odenet import MLPBranch, ODEBlock, PiecewiseConstant
    >>> net = nn.Sequential(nn.Linear(3, 2), ODEBlock(PiecewiseConstant([MLPBranch(2) for _ in range(4)], horizon=1)))
    >>> groups = parameter_groups(net, Training(lr=0.1, optimizer="sgd", depth_rule="1/h"))
    >>> [(len(group["params"]), group["lr"]) for group in groups]
    [(2, 0.1), (16, 0.4)]
    >>> optimizer = SGD(groups, momentum=0.9)

    Args:
        model: Network to train.
        settings: Settings, of which `optimizer`, `lr`, `weight_decay`, `decay`, `depth_rule` and `groups` are used.

    Raises:
        ValueError: if no parameter requires a gradient, an entry of `groups` names none, or the depth rule does not
            suit the network.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("a model without a parameter that requires a gradient cannot be trained: unfreeze some of it.")
    by_depth = depth_factors(model, settings.depth_rule, settings.optimizer)
    by_name = [(entry, _named(entry, number, model)) for number, entry in enumerate(settings.groups)]
    if by_depth and not by_depth.keys() & trained.keys():
        raise ValueError(
            f"depth_rule={settings.depth_rule!r} was asked for, and all parameters of flows are frozen: unfreeze some, "
            "or use depth_rule='none'."
        )
    members: dict[_Group, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        lr, weight_decay, eps = by_depth.get(name, Factors())
        own = [entry for entry, names in by_name if name in names]
        lr *= math.prod(entry.lr for entry in own)
        weight_decay *= math.prod(entry.weight_decay for entry in own)
        decays = settings.decay == "all" or parameter.ndim > 1
        group = _Group(Factors(lr, weight_decay, eps), decays, name in by_depth)
        members.setdefault(group, []).append(parameter)
    return [_options(group, settings) | {"params": members[group]} for group in sorted(members, key=lambda g: g.order)]


def _options(group: _Group, settings: Training) -> dict[str, Any]:
    options: dict[str, Any] = {
        "lr": settings.lr * group.factors.lr,
        "weight_decay": settings.weight_decay * group.factors.weight_decay if group.decays else 0.0,
    }
    if settings.optimizer in ("adam", "adamw"):
        options["eps"] = ADAM_EPS * group.factors.eps
    return options | ({"depth_rule": settings.depth_rule} if group.in_flow else {})


def _named(entry: ParameterGroup, number: int, model: nn.Module) -> set[str]:
    """Return the names of the trained parameters that an entry of `groups` names."""
    parameters: Mapping[str, nn.Parameter] = dict(model.named_parameters(remove_duplicate=False))
    names = {name for name in parameters if _matches(name, entry.parameters)}
    trained = {id(parameters[name]) for name in names if parameters[name].requires_grad}
    if not trained:
        modules = [name for name, _ in model.named_modules() if name]
        near = difflib.get_close_matches(entry.parameters, [*parameters, *modules], n=1)
        found = f"only the frozen {', '.join(sorted(names)[:3])}" if names else "none"
        raise ValueError(
            f"groups[{number}] must name a trained parameter of the {type(model).__name__}, and "
            f"{entry.parameters!r} names {found}: use a name of named_parameters() or of a module, or a pattern with *"
            f"{f', such as {near[0]!r}' if near and not names else ''}."
        )
    return {name for name, parameter in model.named_parameters() if id(parameter) in trained}


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern describes a parameter, or a module that has it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))
