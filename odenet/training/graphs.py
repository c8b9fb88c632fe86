"""CUDA graphs: training steps that the host starts by a single launch, with the same results as eager steps.

A small network on a fast GPU waits for the host, which needs longer to launch a kernel than the kernel takes to run. A
graph records the kernels of a step once and then replays them on the same memory. So everything that changes between
steps is held in tensors that are filled before a replay: the indices of the images, the random numbers of their
augmentation and the learning rates. The loss and the score are copied after the replay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn, optim

from odenet.blocks.block import ODEBlock
from odenet.blocks.compile.programs import first_line
from odenet.blocks.errors import OdenetWarning
from odenet.blocks.gradients.base import Backprop
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.data.transfer import sent_to
from odenet.training.batches import BatchSource
from odenet.training.devices import skips_branches
from odenet.training.steps import Steps
from odenet.training.tasks import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

WARM_UP = 3
"""Number of eager steps for each batch size before the capture, in which libraries and the optimizer initialize."""


class GraphWarning(OdenetWarning):
    """Warning that training steps run eagerly instead of as a graph: with the same results, but slower."""


class Graph(Protocol):
    """Protocol of a graph that captures and replays a step; tests substitute one that needs no GPU."""

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run the step eagerly, in the stream of the later capture."""
        ...

    def capture(self, step: Callable[[], None]) -> None:
        """Record the step without executing it."""
        ...

    def replay(self) -> None:
        """Execute the recorded step, on the same memory."""
        ...


class CudaGraph:
    """Graph of a step as a `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream()

    def warm_up(self, step: Callable[[], None]) -> None:
        """Run the step eagerly on the stream of the capture, synchronized with the current stream."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            step()
        torch.cuda.current_stream().wait_stream(self._stream)

    def capture(self, step: Callable[[], None]) -> None:
        """Record the kernels of the step; raise a RuntimeError if an operation makes the host wait."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            step()

    def replay(self) -> None:
        """Launch the recorded kernels."""
        self._graph.replay()


@runtime_checkable
class NumberedBatches(Protocol):
    """Protocol of batches that are computed on the device from a few numbers, as in `odenet.data`."""

    def numbers(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Iterate over the numbers of the batches start, start + 1, … of an epoch."""
        ...

    def from_numbers(self, *numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Compute a batch from its numbers, which are on the device."""
        ...


class GraphedSteps:
    """Training steps that run as graphs, one graph for each batch size.

    Args:
        steps: Eager steps, which are captured.
        train: Training batches. `NumberedBatches` are computed within the graph; others are copied into its memory.
        graph: Constructor of a graph.
    """

    def __init__(self, steps: Steps, train: BatchSource, graph: Callable[[], Graph]) -> None:
        self._steps, self._graph = steps, graph
        self._compute = train.from_numbers if isinstance(train, NumberedBatches) else None
        self._captured: dict[Hashable, _CapturedStep] = {}

    def batches(self, train: BatchSource, epoch: int, start: int) -> Iterable[tuple[Tensor, ...]]:
        """Iterate over the batches start, start + 1, … of an epoch, or over the numbers of `NumberedBatches`."""
        return train.numbers(epoch, start) if isinstance(train, NumberedBatches) else train.epoch(epoch, start)

    def take(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, int]:
        """Take a step on a batch, given as `batches` yields it; return its loss, score and number of examples.

        Raises:
            ValueError: if the step cannot be captured.
        """
        key = tuple((part.shape, part.dtype) for part in batch)
        if key not in self._captured:
            self._captured[key] = _CapturedStep(batch, self._steps.fabric.device, self._graph(), self._step)
        captured = self._captured[key]
        captured.fill(batch)
        return captured.take()

    def _step(self, *numbers: Tensor) -> tuple[Tensor, Tensor, int]:
        return self._steps.take(numbers if self._compute is None else self._compute(*numbers))


class _CapturedStep:
    """Captured step for batches of one size, with the memory that its graph reads and writes.

    Args:
        numbers: Numbers of a batch, for their shapes.
        device: Device of the training.
        graph: Graph that is not captured yet.
        step: Function from the numbers to loss, score and number of examples.
    """

    def __init__(
        self,
        numbers: tuple[Tensor, ...],
        device: torch.device,
        graph: Graph,
        step: Callable[..., tuple[Tensor, Tensor, int]],
    ) -> None:
        self.numbers = [torch.empty_like(part, device=device) for part in numbers]
        self.graph, self.step = graph, step
        self.taken, self.examples = 0, 0
        self.results: list[Tensor] = []

    def fill(self, numbers: tuple[Tensor, ...]) -> None:
        """Copy the numbers of a batch into the memory that the graph reads."""
        for own, part in zip(self.numbers, numbers, strict=True):
            own.copy_(sent_to(own.device, part), non_blocking=True)

    def take(self) -> tuple[Tensor, Tensor, int]:
        """Take the step, the first `WARM_UP` times eagerly and then by the graph."""
        self.taken += 1
        if self.taken <= WARM_UP:
            self.graph.warm_up(self._write)
        else:
            if self.taken == WARM_UP + 1:
                self._capture()
            self.graph.replay()
        loss, score = (result.clone() for result in self.results)
        return loss, score, self.examples

    def _capture(self) -> None:
        try:
            self.graph.capture(self._write)
        except RuntimeError as error:  # torch has no specific type for it; the first error of the chain has the cause
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            raise ValueError(
                f"cuda_graph=True was asked for, and a step of this network cannot be captured ({first_line(cause)}): "
                "nothing in it may make the host wait, such as item(), or a copy to or from the host. Remove such "
                "operations, or set cuda_graph=False."
            ) from error

    def _write(self) -> None:
        """Take the step and copy loss and score into fixed memory."""
        *results, self.examples = self.step(*self.numbers)
        if not self.results:
            self.results = [torch.empty_like(result) for result in results]
        for own, result in zip(self.results, results, strict=True):
            own.copy_(result)


def can_be_graphs(model: nn.Module, optimizer: optim.Optimizer, fabric: Fabric, task: Task) -> bool:
    """Whether training steps can be captured; if not, warn with the reason (`GraphWarning`)."""
    why = _obstacle(model, optimizer, fabric, task)
    if why is not None:
        warnings.warn(
            f"cuda_graph=True was asked for; {why}, so every step is taken eagerly, with the same results: remove the "
            "cause, or set cuda_graph=False.",
            GraphWarning,
            stacklevel=2,
        )
    return why is None


def _obstacle(model: nn.Module, optimizer: optim.Optimizer, fabric: Fabric, task: Task) -> str | None:
    """Return the reason why a training step cannot be a graph, which the host cannot control; `None` if it can."""
    if fabric.device.type != "cuda":
        return f"the training runs on {fabric.device.type!r}, and graphs need CUDA"
    if fabric.world_size > 1:
        return f"{fabric.world_size} processes exchange gradients in each step"
    if type(optimizer) not in (optim.SGD, optim.Adam, optim.AdamW):
        return f"the step of {type(optimizer).__name__} is not known to be capturable"
    if not task.answers_in_training:
        return f"in a step of the task {type(task).__name__} the host looks at the objects of every image"
    if skips_branches(model):
        return "stochastic depth by batch skips other branches in each step (per='sample' does not)"
    return next((why for module in model.modules() if (why := _obstacle_of_module(module)) is not None), None)


def _obstacle_of_module(module: nn.Module) -> str | None:
    if not isinstance(module, ODEBlock):
        return None
    if not isinstance(module.stepping, FixedSteps):
        return f"{module.label} has the stepping {module.stepping!r}, in which the host reads the error of each step"
    if not isinstance(module.gradient, Backprop):
        return f"{module.label} has the gradient {module.gradient!r}, in which the host controls the backward pass"
    if module.compiled == "reduce-overhead":
        return f"{module.label} is compiled to CUDA graphs of its own, which cannot be part of another graph"
    return None
