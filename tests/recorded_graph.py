"""A stand-in for a CUDA graph, on a CPU: it records the operations of a step and replays them without its Python code.

As in a graph of CUDA, what was a Python number when the step was captured stays as it was; all that is to change has to
lie in tensors. And the capture leaves everything as it found it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only


class RecordedGraph:
    """Warms up, captures and replays a step as `odenet.training.graphs.CudaGraph` does, and counts what it did."""

    def __init__(self) -> None:
        self.warmed_up, self.captured, self.replayed = 0, 0, 0
        self._tape = _Tape()

    def warm_up(self, step: Callable[[], None]) -> None:
        """Take the step."""
        self.warmed_up += 1
        step()

    def capture(self, step: Callable[[], None]) -> None:
        """Record the operations of the step, and put every tensor and the generator back to what they were."""
        self.captured += 1
        random = torch.get_rng_state()
        with self._tape:
            step()
        self._tape.put_back()
        torch.set_rng_state(random)

    def replay(self) -> None:
        """Do the operations again, on the tensors that they were done on."""
        self.replayed += 1
        self._tape.play()


class _Tape(TorchDispatchMode):
    """The operations within it, and the tensors from outside that they were done on."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Sequence[Any], dict[str, Any], list[Any]]] = []
        self._made: dict[int, Tensor] = {}
        self._outside: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            if id(tensor) not in self._made and id(tensor) not in self._outside:
                self._outside[id(tensor)] = tensor, tensor.detach().clone()
        results = func(*args, **kwargs)
        for tensor in _tensors(results):
            if id(tensor) not in self._outside:
                self._made[id(tensor)] = tensor
        self._operations.append((func, args, kwargs, tree_flatten(results)[0]))
        return results

    def put_back(self) -> None:
        with torch.no_grad():
            for tensor, before in self._outside.values():
                if not torch.equal(tensor, before):
                    tensor.copy_(before)

    def play(self) -> None:
        now: dict[int, Tensor] = {}

        def present(tensor: Tensor) -> Tensor:
            return now.get(id(tensor), tensor)

        with torch.no_grad():
            for func, args, kwargs, results in self._operations:
                again = func(*tree_map_only(Tensor, present, args), **tree_map_only(Tensor, present, kwargs))
                for before, after in zip(results, tree_flatten(again)[0], strict=True):
                    if isinstance(before, Tensor) and id(before) not in self._outside:
                        now[id(before)] = after


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]
