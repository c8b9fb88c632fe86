"""Optimizers: torch's own, by name, with the project's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn, optim

from odenet.blocks.errors import unknown_name
from odenet.training.settings import Training

Groups = list[dict[str, Any]]
"""Parameter groups as `torch.optim` takes them."""


def make_optimizer(model: nn.Module, settings: Training) -> optim.Optimizer:
    """The optimizer that `settings` name, for the parameters of `model` that require a gradient.

    Args:
        model: The network.
        settings: Their `optimizer`, `lr`, `momentum`, `weight_decay` and `decay` count.

    Raises:
        ValueError: The name is unknown, or the model has nothing to train.
    """
    if settings.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", settings.optimizer, OPTIMIZERS)
    return OPTIMIZERS[settings.optimizer](_parameter_groups(model, settings), settings)


def require_optimizer_of(model: nn.Module, optimizer: optim.Optimizer) -> None:
    """Refuse an optimizer of anything but parameters of `model`, which would leave the model as it is.

    Raises:
        ValueError: It has a parameter that the model has not.
    """
    own = {id(parameter) for parameter in model.parameters()}
    foreign = sum(id(parameter) not in own for group in optimizer.param_groups for parameter in group["params"])
    if foreign:
        raise ValueError(
            f"an optimizer with {foreign} parameters that are not the model's cannot train it: it is that of another "
            "model, or of a copy. Make it of this model's parameters; after a refinement, by refine_optimizer_state."
        )


def set_learning_rate(optimizer: optim.Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _sgd(groups: Groups, settings: Training) -> optim.Optimizer:
    return optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


def _nesterov(groups: Groups, settings: Training) -> optim.Optimizer:
    if settings.momentum == 0:
        raise ValueError("nesterov with momentum=0 is sgd: it looks ahead along the momentum; use sgd, or a momentum.")
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


def _parameter_groups(model: nn.Module, settings: Training) -> Groups:
    """The parameters that decay and those that do not; an empty group is left out."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("a model without a parameter that requires a gradient cannot be trained: unfreeze some of it.")
    decays = [settings.decay == "all" or parameter.ndim > 1 for parameter in trained]
    groups = [
        {
            "params": [parameter for parameter, decayed in zip(trained, decays, strict=True) if decayed is wanted],
            "weight_decay": settings.weight_decay if wanted else 0.0,
        }
        for wanted in (True, False)
    ]
    return [group for group in groups if group["params"]]
