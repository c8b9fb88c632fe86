"""Optimizers of refined networks: training continues with the momentum of the coarse network.

After `refine_theta`, a node of the finer θ acts on a part m/M of the depth-time of its origin (m and M are the
integrals of their basis functions; m/M = 1/factor for a copied residual block), and so has that part of its gradient.
Sums and means of past gradients are multiplied by m/M and means of their squares by (m/M)². An optimizer that had
trained the finer network all along would have the same state, if the gradient were constant over a piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn, optim

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.multilevel import degree_of
from odenet.blocks.theta.base import Theta
from odenet.blocks.theta.spline import integrals, knot_insertion
from odenet.training.depth_rules import Factors, depth_factors
from odenet.training.settings import DepthRule, OptimizerName

Optimizer = TypeVar("Optimizer", bound=optim.Optimizer)

_POWERS: Mapping[str, int] = {"momentum_buffer": 1, "exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}
"""Power of the gradient in each entry of the state of SGD, Adam and AdamW."""


class Origin(NamedTuple):
    """Parameter of the coarse network, its weight in one of the fine network, and the part m/M of its gradient."""

    name: str
    weight: Fraction
    part: Fraction


@checked
def refine_optimizer_state(optimizer: Optimizer, before: nn.Module, after: nn.Module) -> Optimizer:
    """Return an optimizer of the parameters of `after`, with the settings and state that `optimizer` has for `before`.

    Under SGD the finer nodes move more slowly, by the factor of refinement, because each has that part of the gradient;
    a learning rate that is larger by this factor keeps the speed of θ(t). Groups of a depth rule (`parameter_groups`)
    follow the rule: with 1/h and completep, that is the learning rate they get. Adam divides by the size of the
    gradient, so its learning rate stays the same.

    >>> from torch.optim import SGD
    >>> from odenet import refine_steps, refine_theta
    >>> from odenet.models import resnet20
    >>> coarse = resnet20()
    >>> optimizer = SGD(coarse.parameters(), lr=0.1, momentum=0.9)
    >>> fine = refine_theta(refine_steps(coarse))
    >>> optimizer = refine_optimizer_state(optimizer, coarse, fine)
    >>> len(optimizer.param_groups[0]["params"]) == len(list(fine.parameters()))
    True

    Args:
        optimizer: SGD, Adam or AdamW of parameters of `before`; it is not changed. Refinements of parameters that it
            does not hold (frozen ones) are left out of the new optimizer.
        before: Coarse network.
        after: Refinement of `before` by `refine_steps` or `refine_theta`, any number of times.

    Raises:
        ValueError: if `after` is no refinement of `before`, the optimizer has parameters of another network, or is of
            another class, whose state depends on an unknown power of the gradient, or a depth rule of its groups does
            not suit `after`, such as 1/sqrt(L), whose horizon grows with L.
    """
    coarse, fine = dict(before.named_parameters(remove_duplicate=False)), dict(after.named_parameters())
    origins = _origins(before, after)
    _require_refinement(coarse, fine, origins)
    held = _group_indices(optimizer, coarse)
    changes = _changes_of_rules(optimizer, before, after)
    groups: dict[tuple[int, Factors], dict[str, Any]] = {}
    refined = {}
    for name, parameter in fine.items():
        number = held.get(id(coarse[origins[name][0].name]))
        if number is None:
            continue
        group = optimizer.param_groups[number]
        change = changes[group["depth_rule"]](origins[name][0].name, name) if "depth_rule" in group else Factors()
        groups.setdefault((number, change), _scaled(group, change))["params"].append(parameter)
        states = [optimizer.state.get(coarse[origin.name], {}) for origin in origins[name]]
        if all(states):
            refined[parameter] = _combined(states, origins[name], type(optimizer).__name__)
    in_order = [groups[key] for key in sorted(groups, key=lambda key: key[0])]
    new = type(optimizer)(in_order)  # pyright: ignore[reportCallIssue]  (each optimizer's own constructor takes groups)
    new.state.update(refined)
    return new


def _changes_of_rules(
    optimizer: optim.Optimizer, before: nn.Module, after: nn.Module
) -> dict[DepthRule, Callable[[str, str], Factors]]:
    """Return, for each depth rule of `optimizer`, the ratios of factors as a function of the old and the new name."""
    adam: OptimizerName = "adamw" if isinstance(optimizer, optim.AdamW) else "adam"
    kind: OptimizerName = adam if isinstance(optimizer, optim.Adam | optim.AdamW) else "sgd"

    def change_of(rule: DepthRule) -> Callable[[str, str], Factors]:
        old, new = (depth_factors(model, rule, kind) for model in (before, after))
        return lambda origin, name: Factors(*(n / o for n, o in zip(new[name], old[origin], strict=True)))

    rules = dict.fromkeys(group["depth_rule"] for group in optimizer.param_groups if "depth_rule" in group)
    return {rule: change_of(rule) for rule in rules}


def _scaled(group: Mapping[str, Any], change: Factors) -> dict[str, Any]:
    """Return the settings of a parameter group, multiplied by `change`, without parameters."""
    changed = {name: group[name] * factor for name, factor in change._asdict().items() if name in group and factor != 1}
    return {**group, **changed, "params": []}


def _origins(before: nn.Module, after: nn.Module) -> dict[str, list[Origin]]:
    """Return the origins of each parameter of `after`; the first is at the same depth or just before it."""
    origins = {name: [Origin(name, Fraction(1), Fraction(1))] for name, _ in after.named_parameters()}
    former = dict(before.named_modules())
    for path, block in after.named_modules():
        if isinstance(block, ODEBlock) and isinstance(old := former.get(path), ODEBlock):
            nodes = f"{path}.theta.nodes".removeprefix(".")
            for j, rows in enumerate(_node_origins(old.theta, block.theta)):
                for rest, _ in block.theta.nodes[j].named_parameters():
                    origins[f"{nodes}.{j}.{rest}"] = [
                        Origin(f"{nodes}.{k}.{rest}", *parts) for k, parts in rows.items()
                    ]
    return origins


def _node_origins(old: Theta, new: Theta) -> Iterable[dict[int, tuple[Fraction, Fraction]]]:
    """Yield, for each new node, weight and part of its old nodes; yield nothing if the nodes are the same."""
    factor, rest = divmod(new.number_of_pieces, old.number_of_pieces)
    degrees = {len(theta.nodes) - theta.number_of_pieces for theta in (old, new)}
    if rest or factor == 0 or type(new) is not type(old) or len(degrees) > 1:
        raise _not_a_refinement(
            f"θ is {type(old).__name__} on {old.number_of_pieces} pieces in `before`, and {type(new).__name__} on "
            f"{new.number_of_pieces} in `after`"
        )
    if factor == 1:
        return
    degree = degree_of(old)
    fine, coarse = (integrals(degree, theta.number_of_pieces) for theta in (new, old))
    for j, row in enumerate(knot_insertion(degree, old.number_of_pieces, factor)):
        yield {k: (weight, fine[j] / factor / coarse[k]) for k, weight in row.items()}


def _require_refinement(
    coarse: Mapping[str, Tensor], fine: Mapping[str, Tensor], origins: Mapping[str, list[Origin]]
) -> None:
    for name, parameter in fine.items():
        for origin in origins[name]:
            if origin.name not in coarse or coarse[origin.name].shape != parameter.shape:
                raise _not_a_refinement(f"{name!r} has no origin {origin.name!r} of its shape")


def _not_a_refinement(found: str) -> ValueError:
    return ValueError(
        f"refine_optimizer_state was given a network that is no refinement of the other: {found}. Pass the network "
        "before and after refine_steps or refine_theta; after any other change, begin with a new optimizer."
    )


def _group_indices(optimizer: optim.Optimizer, coarse: Mapping[str, Tensor]) -> dict[int, int]:
    """Return the index of the group of each parameter, by the id of the parameter."""
    held = {
        id(parameter): number for number, group in enumerate(optimizer.param_groups) for parameter in group["params"]
    }
    if not held.keys() <= {id(parameter) for parameter in coarse.values()}:
        raise ValueError(
            "the optimizer has parameters that are none of the coarse network's: it belongs to another network, or "
            "to a copy. Pass the network that it trains as `before`."
        )
    return held


def _combined(states: list[dict[str, Any]], origins: list[Origin], kind: str) -> dict[str, Any]:
    """Combine the states of the origins of a parameter; the count of steps is that of the first."""
    combined = {}
    for name, value in states[0].items():
        if name == "step" or value is None:
            combined[name] = value.clone() if isinstance(value, Tensor) else value
        elif name in _POWERS:
            scales = [float(origin.weight * origin.part ** _POWERS[name]) for origin in origins]
            terms = [scale * state[name] for scale, state in zip(scales, states, strict=True)]
            combined[name] = torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]
        else:
            raise ValueError(
                f"refine_optimizer_state met {name!r} in the state of {kind}, which depends on an unknown power of the "
                "gradient; it knows SGD, Adam and AdamW: use one of these, or begin with a new optimizer."
            )
    return combined
