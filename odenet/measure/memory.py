"""Memory of a computation: bytes kept for the backward pass, and peak bytes in use."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from odenet.blocks.arguments import checked
from odenet.blocks.replay.replay import frozen_buffers
from odenet.measure.mode import as_in_training


@checked
def activation_bytes(model: nn.Module, images: Tensor) -> int:
    """Count the bytes kept from the forward to the backward pass: saved tensors and outputs, each storage once.

    Parameters and buffers do not count; the images do, because the first layer needs them. If two layers save the same
    tensor, or views of it, its bytes count once. The number is proportional to the batch size, and the same on every
    device except for what a library keeps itself (cuDNN's BatchNorm). With a model and images on the meta device
    nothing is computed.

    Only tensors saved through autograd are counted. For a `torch.autograd.Function` that keeps tensors otherwise than
    by `save_for_backward`, or for a checkpoint, use `peak_bytes`.

    Args:
        model: network, put into training mode temporarily, except for the parts that its user has put into evaluation
            mode. Statistics of BatchNorm do not change; dropout draws from torch's generator.
        images: images of shape (batch, channels, height, width), on the device of the model.
    """
    own = {tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())}
    kept: set[UntypedStorage] = set()

    def pack(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage())
        return tensor

    keeping = saved_tensors_hooks(pack, lambda tensor: tensor)
    with as_in_training(model), frozen_buffers(model), torch.enable_grad(), keeping:
        output = model(images)
    kept |= {tensor.untyped_storage() for tensor in _tensors(output)}
    return sum(storage.nbytes() for storage in kept - own)


@checked
def peak_bytes(work: Callable[[], object]) -> int:
    """Measure the peak number of bytes of the tensors that are created while `work()` runs, on any device.

    A tensor counts as long as anything keeps it: an autograd graph, a gradient, a closure. Workspaces inside an
    operation do not count. On the meta device nothing is computed.

    >>> peak_bytes(lambda: torch.zeros(100).exp().sum())  # two vectors of 400 bytes, then the sum beside the second
    800
    """
    with _LiveStorages() as storages:
        result = work()
    del result
    return storages.peak


@checked
def peak_cuda_bytes(work: Callable[[], object]) -> int:
    """Measure the peak number of bytes allocated on the CUDA device while `work()` runs, beyond those before.

    Unlike `peak_bytes` this includes workspaces of operations.

    Raises:
        ValueError: if there is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise ValueError(
            "peak_cuda_bytes asks CUDA's allocator, and there is no CUDA device here: use peak_bytes, which counts "
            "tensors on any device."
        )
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class _LiveStorages(TorchDispatchMode):
    """Tracks every storage that an operation creates until it is freed; `peak` is the largest sum of their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation, and begin to track the storages of its outputs that are not those of its inputs."""
        result = func(*args, **kwargs or {})
        created = {tensor.untyped_storage() for tensor in _tensors(result)}
        created = {storage for storage in created if storage not in self._known}
        if created:
            for storage in created - {tensor.untyped_storage() for tensor in _tensors((args, kwargs))}:
                self._track(storage)
        self.peak = max(self.peak, self.now)
        return result

    def _track(self, storage: UntypedStorage) -> None:
        self._known.add(storage)
        self.now += storage.nbytes()
        weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.now -= size


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
