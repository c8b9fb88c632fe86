"""Measurements for the five questions of `is_it_an_ode`, each on a network and some images.

The distance between two outputs is the mean over the images of ‖difference of logits‖₂/‖logits‖₂, in evaluation mode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from odenet import FixedSteps, ODEBlock, PiecewiseConstant, configure
from odenet.blocks.stepping.base import Stepping
from odenet.measure import (
    dropped,
    largest_eigenvalues,
    observed_order,
    output_distance,
    state_roughness,
    swapped,
    theta_roughness,
    visited_states,
)

Question: TypeAlias = Callable[[nn.Module, Tensor, Tensor], dict[str, Any]]
"""Function of the network, images and labels that returns its measurement as JSON data."""

SOLVERS, STEPS = ("euler", "midpoint", "rk4"), (1, 2, 4, 8)
FINEST, FINEST_PROJECTED = FixedSteps("rk4", 16), FixedSteps("rk4", 256)
"""Steppings of the reference solutions; where a projection bends the path, no solver has an order above 1."""
ORDER_STEPS = (8, 16, 32)
EIGENVALUES = 8
"""Number of eigenvalues that are computed for each branch: those of largest modulus."""


def _with(net: nn.Module, stepping: Stepping) -> nn.Module:
    """Return a copy of the network with another stepping."""
    other = copy.deepcopy(net)
    configure(other, stepping=stepping)
    return other


def _initial_states(net: nn.Module, images: Tensor) -> dict[ODEBlock, Tensor]:
    """Return the state x(0) that each block receives for these images."""
    found: dict[ODEBlock, Tensor] = {}

    def note(block: nn.Module, arguments: tuple[Tensor]) -> None:
        assert isinstance(block, ODEBlock)
        found[block] = arguments[0]

    hooks = [block.register_forward_pre_hook(note) for block in net.modules() if isinstance(block, ODEBlock)]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return found


def solvers(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Measure the distance of the output and the accuracy with every solver and number of steps per piece."""
    answer: dict[str, Any] = {"distance": {}, "accuracy": {}}
    for solver, steps in product(SOLVERS, STEPS):
        other = _with(net, FixedSteps(solver, steps))
        answer["distance"][f"{solver}×{steps}"] = output_distance(net, other, images)
        with torch.no_grad():
            right = other(images).argmax(dim=1) == labels
        answer["accuracy"][f"{solver}×{steps}"] = float(right.float().mean())
    return answer


def order(net: nn.Module, images: Tensor, _labels: Tensor) -> dict[str, Any]:
    """Measure the errors of Euler's method against the finest steps, in double precision, and their order."""
    net, images = copy.deepcopy(net).double(), images[:8].double()
    projected = any(isinstance(block, ODEBlock) and block.projection is not None for block in net.modules())
    finest = _with(net, FINEST_PROJECTED if projected else FINEST)
    errors = [output_distance(finest, _with(net, FixedSteps("euler", steps)), images) for steps in ORDER_STEPS]
    return {"errors": errors, "order": observed_order(ORDER_STEPS, errors)}


def smoothness(net: nn.Module, images: Tensor, _labels: Tensor) -> dict[str, Any]:
    """Measure the roughness between neighbours in each block, of θ and of the speed of the state by Euler's method."""
    with configure(net, stepping=FixedSteps()):
        inputs = _initial_states(net, images)
        state = [state_roughness(block, x) for block, x in inputs.items()]
    return {"theta": [theta_roughness(block.theta) for block in inputs], "state": state}


def lesions(net: nn.Module, images: Tensor, _labels: Tensor) -> dict[str, Any]:
    """Measure how far the output moves without a piece, and with two neighbours exchanged: a list for each block."""
    whole = copy.deepcopy(net)

    def moved(lesion: AbstractContextManager[None]) -> float:
        with lesion:
            return output_distance(whole, net, images)

    answer: dict[str, Any] = {"dropped": [], "swapped": []}
    for block in (module for module in net.modules() if isinstance(module, ODEBlock)):
        layers = block.theta.number_of_pieces if isinstance(block.theta, PiecewiseConstant) else 1
        answer["dropped"].append([moved(dropped(block, index)) for index in range(layers) if layers > 1])
        answer["swapped"].append([moved(swapped(block, index)) for index in range(layers - 1)])
    return answer


def spectrum(net: nn.Module, images: Tensor, _labels: Tensor) -> dict[str, Any]:
    """Compute h·λ of each branch, h the length of a piece, at the states of the first image: (real, imaginary)."""
    scaled: list[complex] = []
    with configure(net, stepping=FixedSteps()):
        for block, start in _initial_states(net, images[:1]).items():
            states = visited_states(block, start)[:-1]
            for piece, x in zip(block.theta.pieces(), states, strict=True):
                values = largest_eigenvalues(partial(piece.field, piece.start), x, EIGENVALUES)
                scaled += list((piece.end - piece.start) * values)
    return {"eigenvalues": [(float(z.real), float(z.imag)) for z in scaled]}


QUESTIONS: Mapping[str, Question] = {
    "solvers": solvers,
    "order": order,
    "smoothness": smoothness,
    "lesions": lesions,
    "spectrum": spectrum,
}
