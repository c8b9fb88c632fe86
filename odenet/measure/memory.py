"""What a network needs of memory: bytes kept for the backward pass, and the most bytes alive at once."""

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
from odenet.blocks.replay.replay import resting_statistics
from odenet.measure.mode import as_in_training


@checked
def activation_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes that are kept between forward and backward pass in training: saved tensors and outputs, each storage once.

    Parameters and buffers do not count, the images do: the first layer needs them. Two layers that save one tensor, or
    views of it, share its bytes. Proportional to the batch; the same on every device, but for what a library keeps for
    itself (cuDNN's BatchNorm). On the meta device, with a model there, nothing is computed.

    It is what autograd knows of: a `torch.autograd.Function` that keeps tensors otherwise than by `save_for_backward`,
    or a checkpoint, needs `peak_bytes`.

    Args:
        model: in training mode for the moment, but for the parts that its user has put into evaluation mode. Statistics
            of BatchNorm stay as they are; dropout draws from torch's generator.
        images: (batch, channels, height, width), on the device of the model.
    """
    own = {tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())}
    kept: set[UntypedStorage] = set()

    def pack(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage())
        return tensor

    keeping = saved_tensors_hooks(pack, lambda tensor: tensor)
    with as_in_training(model), resting_statistics(model), torch.enable_grad(), keeping:
        output = model(images)
    kept |= {tensor.untyped_storage() for tensor in _tensors(output)}
    return sum(storage.nbytes() for storage in kept - own)


@checked
def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes alive at once among the tensors that are made while `work()` runs, wherever they are stored.

    Whatever keeps a tensor, keeps it here: graphs of autograd, gradients, closures. Workspaces inside an operation do
    not count. On the meta device nothing is computed.

    >>> peak_bytes(lambda: torch.zeros(100).exp().sum())  # two vectors of 400 bytes, then the sum beside the second
    800
    """
    with _Living() as living:
        result = work()
    del result
    return living.most


@checked
def peak_cuda_bytes(work: Callable[[], object]) -> int:
    """The most bytes that CUDA's allocator had handed out while `work()` ran, beyond those before: with workspaces.

    Raises:
        ValueError: there is no CUDA device.
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


class _Living(TorchDispatchMode):
    """Follows every storage that an operation makes until it dies; `most` is the largest sum of their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The operation as it is; then its inputs are old, and what of its outputs is new begins to live."""
        given = {tensor.untyped_storage() for tensor in _tensors((args, kwargs))}
        result = func(*args, **kwargs or {})
        for storage in {tensor.untyped_storage() for tensor in _tensors(result)} - given:
            if storage not in self._known:
                self._begin(storage)
        self.most = max(self.most, self.now)
        return result

    def _begin(self, storage: UntypedStorage) -> None:
        self._known.add(storage)
        self.now += storage.nbytes()
        weakref.finalize(storage, self._end, storage.nbytes())

    def _end(self, size: int) -> None:
        self.now -= size


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
