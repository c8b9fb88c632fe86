"""CUDA graphs: a whole training step that the host starts by one launch, with the numbers of the step taken eagerly.

A small network on a fast GPU waits for its host, which needs longer to launch a kernel than the kernel takes. A graph
records the kernels of a step once, and then replays them on the same memory. So all that changes from step to step lies
in tensors that are filled before a replay: the places of the images and the random numbers of their augmentation, the
learning rates, and what the step returns. The loss and the score are copied out after it.
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

if TYPE_CHECKING:
    from lightning_fabric import Fabric

WARM_UP = 3
"""Steps of a batch size that are taken eagerly before the graph is captured: libraries and optimizer set up in them."""


class GraphWarning(OdenetWarning):
    """A training step was to be captured as a graph and is taken eagerly: the numbers are the same, not the speed."""


class Graph(Protocol):
    """Captures a step and replays it; the place where a test puts what needs no GPU."""

    def warm_up(self, step: Callable[[], None]) -> None:
        """Take the step where a later capture finds all that it sets up."""
        ...

    def capture(self, step: Callable[[], None]) -> None:
        """Record what the step does, without doing it."""
        ...

    def replay(self) -> None:
        """Do what was recorded, on the same memory."""
        ...


class CudaGraph:
    """A `torch.cuda.CUDAGraph` of a step."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream()

    def warm_up(self, step: Callable[[], None]) -> None:
        """Take the step on the stream of the capture, between what is queued and what will be."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            step()
        torch.cuda.current_stream().wait_stream(self._stream)

    def capture(self, step: Callable[[], None]) -> None:
        """Record the kernels of the step; an operation that makes the host wait raises a RuntimeError."""
        with torch.cuda.graph(self._graph, stream=self._stream):
            step()

    def replay(self) -> None:
        """Launch the kernels."""
        self._graph.replay()


@runtime_checkable
class NumberedBatches(Protocol):
    """Batches that are computed on the device from a few numbers, as those of `odenet.data` are."""

    def numbers(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """The numbers of each batch of an epoch from `start` on."""
        ...

    def from_numbers(self, *numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The batch of numbers that lie on the device."""
        ...


class GraphedSteps:
    """Takes the steps of a training as graphs, one for each size of a batch.

    Args:
        steps: The eager steps.
        train: Training batches. The graph computes those that are `NumberedBatches` itself; others are copied into it.
        graph: Makes a graph that is yet to be captured.
    """

    def __init__(self, steps: Steps, train: BatchSource, graph: Callable[[], Graph]) -> None:
        self._steps, self._graph = steps, graph
        self._compute = train.from_numbers if isinstance(train, NumberedBatches) else None
        self._captured: dict[Hashable, _CapturedStep] = {}

    def batches(self, train: BatchSource, epoch: int, start: int) -> Iterable[tuple[Tensor, ...]]:
        """The numbers of each batch of an epoch from `start` on, or the batches themselves."""
        return train.numbers(epoch, start) if isinstance(train, NumberedBatches) else train.epoch(epoch, start)

    def take(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, int]:
        """Take a step on the batch of these numbers; return its loss, its score and its number of examples.

        Raises:
            ValueError: The step cannot be captured.
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
    """A step on batches of one size, and the memory that its graph reads and writes.

    Args:
        numbers: Those of a batch, for their shapes.
        device: Of the training.
        graph: To capture.
        step: Takes the numbers; returns loss, score and number of examples.
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
        """Put the numbers of a batch where the graph reads them."""
        for own, part in zip(self.numbers, numbers, strict=True):
            own.copy_(sent_to(own.device, part), non_blocking=True)

    def take(self) -> tuple[Tensor, Tensor, int]:
        """Take the step: eagerly at first, then by the graph."""
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
        except RuntimeError as error:  # torch has no type of its own for it; the first error says why
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            raise ValueError(
                f"cuda_graph=True was asked for, and a step of this network cannot be captured ({first_line(cause)}): "
                "nothing in it may make the host wait, such as item(), or a copy to or from the host. Remove what "
                "does, or set cuda_graph=False."
            ) from error

    def _write(self) -> None:
        """Take the step and leave loss and score where they are read from."""
        *results, self.examples = self.step(*self.numbers)
        if not self.results:
            self.results = [torch.empty_like(result) for result in results]
        for own, result in zip(self.results, results, strict=True):
            own.copy_(result)


def can_be_graphs(model: nn.Module, optimizer: optim.Optimizer, fabric: Fabric) -> bool:
    """Whether training steps can be captured; where not, a `GraphWarning` says why."""
    why = _obstacle(model, optimizer, fabric)
    if why is not None:
        warnings.warn(
            f"cuda_graph=True was asked for; {why}, so every step is taken eagerly, with the same numbers: remove the "
            "cause, or set cuda_graph=False.",
            GraphWarning,
            stacklevel=2,
        )
    return why is None


def _obstacle(model: nn.Module, optimizer: optim.Optimizer, fabric: Fabric) -> str | None:
    """Return why a training step cannot be a graph, in which nothing may depend on a look of the host; else None."""
    if fabric.device.type != "cuda":
        return f"the training runs on {fabric.device.type!r}, and graphs are of CUDA"
    if fabric.world_size > 1:
        return f"{fabric.world_size} processes exchange gradients in each step"
    if type(optimizer) not in (optim.SGD, optim.Adam, optim.AdamW):
        return f"the step of {type(optimizer).__name__} is not known to be one that a graph can hold"
    if skips_branches(model):
        return "stochastic depth by batch leaves other branches out in each step (per='sample' does not)"
    return next((why for module in model.modules() if (why := _obstacle_in(module)) is not None), None)


def _obstacle_in(module: nn.Module) -> str | None:
    if not isinstance(module, ODEBlock):
        return None
    if not isinstance(module.stepping, FixedSteps):
        return f"{module.label} steps by {module.stepping!r}, whose host looks at the error of its steps"
    if not isinstance(module.gradient, Backprop):
        return f"{module.label} has the gradient {module.gradient!r}, whose host decides in the backward pass"
    if module.compiled == "reduce-overhead":
        return f"{module.label} is compiled to CUDA graphs of its own, which cannot be part of another"
    return None
