"""Optimizers of torch by name, made with the settings of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn, optim

from odenet.blocks.errors import unknown_name
from odenet.training.parameter_groups import Groups, parameter_groups
from odenet.training.settings import Training


def make_optimizer(model: nn.Module, settings: Training) -> optim.Optimizer:
    """Make the optimizer that `settings` name, for the parameters of `model` that require a gradient.

    Args:
        model: Network to train.
        settings: Settings, of which `optimizer`, `lr`, `momentum`, `weight_decay`, `decay`, `depth_rule` and `groups`
            are used.

    Raises:
        ValueError: if the name is unknown, no parameter of the model requires a gradient, an entry of `groups` names
            none, or the depth rule does not suit the model.
    """
    if settings.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", settings.optimizer, OPTIMIZERS)
    return OPTIMIZERS[settings.optimizer](parameter_groups(model, settings), settings)


def require_optimizer_of(model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Raise an error unless all parameters of `optimizer` belong to `model`, which it could not train otherwise.

    Raises:
        ValueError: if the optimizer has a parameter of another model.
    """
    own = {id(parameter) for parameter in model.parameters()}
    foreign = sum(id(parameter) not in own for group in optimizer.param_groups for parameter in group["params"])
    if foreign:
        raise ValueError(
            f"an optimizer with {foreign} parameters that are not the model's cannot train it: it belongs to another "
            "model, or to a copy. Make it from this model's parameters; after a refinement, by refine_optimizer_state."
        )


def require_depth_rule(optimizer: optim.Optimizer, settings: Training) -> None:
    """Raise an error if `settings` ask for a depth rule, and `optimizer` was made without it.

    Raises:
        ValueError: if no parameter group has the rule.
    """
    if settings.depth_rule not in ("none", *(group.get("depth_rule") for group in optimizer.param_groups)):
        raise ValueError(
            f"depth_rule={settings.depth_rule!r} was asked for, and the {type(optimizer).__name__} that was passed has "
            "no group of that rule, so its learning rates would stay as they are: make it from parameter_groups(model, "
            "settings), or pass no optimizer."
        )


def learning_rates(optimizer: optim.Optimizer) -> list[float]:
    """Return the learning rate of each parameter group."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def set_learning_rates(optimizer: optim.Optimizer, rates: Sequence[float]) -> None:
    """Set the learning rate of each parameter group; a rate that is a tensor is changed in place."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


@contextmanager
def rates_kept(optimizer: optim.Optimizer) -> Iterator[list[float]]:
    """Yield the learning rates of the parameter groups, and restore them when the context ends."""
    rates = learning_rates(optimizer)
    try:
        yield rates
    finally:
        set_learning_rates(optimizer, rates)


@contextmanager
def capturable(optimizer: optim.Optimizer, device: torch.device) -> Iterator[None]:
    """Make the step of SGD, Adam or AdamW capturable by a CUDA graph; restore the options when the context ends.

    The learning rates and Adam's step counts become tensors on `device`, and the step becomes a fused kernel.
    """
    before = graph_options(optimizer)
    try:
        for group, rate in zip(optimizer.param_groups, learning_rates(optimizer), strict=True):
            new = {"lr": torch.tensor(rate, device=device), "fused": True, "foreach": False, "capturable": True}
            group.update({name: value for name, value in new.items() if name in group})
        _move_counts(optimizer, device)
        # Otherwise Adam warns in the eager steps before the capture that it is capturable but not captured.
        vars(optimizer)["_warned_capturable_if_run_uncaptured"] = True
        yield
    finally:
        for group, options in zip(optimizer.param_groups, before, strict=True):
            group.update(_with_rate_of(group, options))
        if not any(options.get("fused") or options.get("capturable") for options in before):
            _move_counts(optimizer, torch.device("cpu"))


def graph_options(optimizer: optim.Optimizer) -> list[dict[str, Any]]:
    """Return the options of each parameter group that `capturable` changes."""
    names = ("lr", "fused", "foreach", "capturable")
    return [{name: group[name] for name in names if name in group} for group in optimizer.param_groups]


def plain_state(optimizer: optim.Optimizer, options: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the optimizer's state dict with the options of its groups that `graph_options` returned earlier."""
    state = optimizer.state_dict()
    groups = zip(state["param_groups"], options, strict=True)
    return state | {"param_groups": [group | _with_rate_of(group, before) for group, before in groups]}


def _with_rate_of(group: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with the present learning rate of `group`, as a tensor only if it is one in `options`."""
    rate = (
        group["lr"] if isinstance(options["lr"], Tensor) or not isinstance(group["lr"], Tensor) else float(group["lr"])
    )
    return {**options, "lr": rate}


def _move_counts(optimizer: optim.Optimizer, device: torch.device) -> None:
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(device)


def describe_optimizer(optimizer: optim.Optimizer) -> dict[str, Any]:
    """Return the class of an optimizer and the options and number of parameters of each group, as plain data."""
    groups = [
        {name: _plain_setting(value) for name, value in group.items() if name != "params"}
        | {"parameters": len(group["params"])}
        for group in optimizer.param_groups
    ]
    return {"kind": type(optimizer).__name__, "groups": groups}


def _plain_setting(value: object) -> object:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain_setting(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str | None) else type(value).__name__


def _sgd(groups: Groups, settings: Training) -> optim.Optimizer:
    return optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


def _nesterov(groups: Groups, settings: Training) -> optim.Optimizer:
    if settings.momentum == 0:
        raise ValueError("nesterov with momentum=0 is sgd: it needs a momentum; use sgd, or a momentum > 0.")
    return optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=True)


def _adam(groups: Groups, settings: Training) -> optim.Optimizer:
    return optim.Adam(groups, lr=settings.lr, betas=(settings.momentum, 0.999))


def _adamw(groups: Groups, settings: Training) -> optim.Optimizer:
    return optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, 0.999))


OPTIMIZERS: Mapping[str, Callable[[Groups, Training], optim.Optimizer]] = {
    "sgd": _sgd,
    "nesterov": _nesterov,
    "adam": _adam,
    "adamw": _adamw,
}
