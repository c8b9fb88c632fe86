"""Flow of a trained net's own vector field: its accuracy as an ODE-Net, and the distance of the net's steps from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from experiments.support.training import LazyTraining, on_test_images
from odenet import Adaptive, FixedSteps, ODEBlock, configure
from odenet.data import Batches
from odenet.measure import count_evaluations, count_layers, count_parameters, final_state, relative_distance
from odenet.models import ResNet
from odenet.training import Classification, evaluate


@dataclass(frozen=True, eq=False)
class OwnFlow:
    """Measurements of a net solved to high accuracy, which depend on its θ(t) but not on its steps."""

    test: Batches
    """Test images of the measurements."""
    accuracy: float
    """Accuracy of the net solved by dopri5."""
    evaluations: int
    """Number of evaluations of F that dopri5 takes."""
    final_state: Tensor
    """State x(T) of the first batch by the finest solution."""

    @classmethod
    def measure(cls, net: ResNet, test: Batches, num_classes: int, tolerance: float) -> OwnFlow:
        """Measure the flow of `net`: accuracy and evaluations by dopri5, and the final state by RK4 with h ≤ 1/32.

        Args:
            net: Trained net, which is measured in evaluation mode.
            test: Batches of test images; the final state is that of the first batch.
            num_classes: Number of classes of the labels.
            tolerance: Relative and absolute tolerance of dopri5.
        """
        with configure(net, stepping=Adaptive("dopri5", rtol=tolerance, atol=tolerance)):
            accuracy = evaluate(net, Classification(num_classes), test)["accuracy"]
            evaluations = count_evaluations(net)
        theta = _first_block(net).theta
        with configure(net, stepping=FixedSteps("rk4", max(1, round(32 * theta.horizon) // theta.number_of_pieces))):
            # Split, so that the slopes of a part fit into the cache.
            parts = [final_state(net, part) for part in _first_images(test).split(90)]
        return cls(test, accuracy, evaluations, torch.cat(parts))

    def compare(self, net: ResNet, num_classes: int) -> dict[str, Any]:
        """Measure a net of the same θ(t) with its own steps: its size, its accuracy and its distance from the flow."""
        accuracy = evaluate(net, Classification(num_classes), self.test)["accuracy"]
        evaluations = count_evaluations(net)
        block = _first_block(net)
        assert isinstance(block.stepping, FixedSteps)
        return {
            "layers": count_layers(net),
            "step": block.theta.horizon / block.theta.number_of_pieces / block.stepping.per_piece,
            "parameters": count_parameters(net),
            "evaluations": evaluations,
            "distance": relative_distance(final_state(net, _first_images(self.test)), self.final_state),
            "probe_accuracy": accuracy,
            "ode_accuracy": self.accuracy,
            "ode_evaluations": self.evaluations,
        }


class LazyFlow(LazyTraining[ResNet]):
    """Network that is trained, or read back, when it is first needed, with the flow of its vector field."""

    @cached_property
    def own_flow(self) -> OwnFlow:
        """Flow of the vector field of the trained net, measured with `tolerance` and `probe_images` of the settings."""
        settings: Any = self.settings  # tolerance and probe_images are fields of the experiment's own settings
        test = self.data.test.first(min(settings.probe_images, len(self.data.test)))
        probe = on_test_images(self.net, replace(self.data, test=test))
        return OwnFlow.measure(self.net, probe, self.data.num_classes, settings.tolerance)


def _first_block(net: ResNet) -> ODEBlock:
    return next(module for module in net.modules() if isinstance(module, ODEBlock))


def _first_images(test: Batches) -> Tensor:
    return next(iter(test.epoch(0)))[0]
