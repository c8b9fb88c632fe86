"""What makes a host wait for an accelerator, and how many operations it launches there: seen on a CPU.

On a CPU a tensor of the host and one of the device look alike. Within `HostWaits` a tensor belongs to the host if it is
made without a device, or on "cpu" in words, or by a generator; what is computed of such tensors alone does as well,
until `to` sends it to a device. All others are those of the device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten

WAITING: Mapping[Any, str] = {
    aten._local_scalar_dense: "reads a number back",
    aten.equal: "reads back whether tensors are equal",
    aten.nonzero: "waits for the number of entries",
    aten.masked_select: "waits for the number of entries",
    aten.unique_consecutive: "waits for the number of entries",
    aten._unique2: "waits for the number of entries",
    aten.bincount: "waits for the largest number",
}
"""Operations of which the host has to know what came out, with what it waits for."""

VIEWS = {
    *(aten.view, aten._unsafe_view, aten.expand, aten.select, aten.slice, aten.t, aten.transpose, aten.permute),
    *(aten.unsqueeze, aten.squeeze, aten.detach, aten.alias, aten.as_strided, aten.split, aten.split_with_sizes),
    *(aten.unbind, aten.unfold, aten._reshape_alias, aten.diagonal, aten.lift_fresh, aten.empty, aten.empty_like),
}
"""Operations that launch no kernel."""


class HostWaits:
    """Within it, every wait of the host is noted, and every operation on the device that launches a kernel is counted.

    Attributes:
        waits: What waited, in order.
        launched: Number of operations by name.
        making_on_host: Whether a tensor of the host is being made.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.launched: Counter[str] = Counter()
        self.making_on_host = False
        self._modes = (_Functions(self), _Operations(self), _Readings(self))

    @property
    def operations(self) -> int:
        """Number of operations that launched a kernel."""
        return self.launched.total()

    def __enter__(self) -> Self:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    """Sees the operations, those of the backward pass too."""

    def __init__(self, seen: HostWaits) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        del types
        packet = func.overloadpacket
        if not _are_of_host(args):
            if packet in WAITING and not _is_state_of_a_generator(args[0]):
                self._seen.waits.append(f"{packet.__name__} {WAITING[packet]}")
            if packet in (aten.index, aten.index_put, aten.index_put_) and _has_a_mask(args[1]):
                self._seen.waits.append(f"{packet.__name__} by a mask waits for the number of entries")
            if packet not in VIEWS and not self._seen.making_on_host:
                self._seen.launched[packet.__name__] += 1
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    """Sees the functions that Python calls: which tensors are the host's, and copies between it and the device."""

    def __init__(self, seen: HostWaits) -> None:
        super().__init__()
        self._seen, self._waits = seen, seen.waits

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        name, given = getattr(func, "__name__", ""), _tensors((args, kwargs))
        of_host = _are_of_host((args, kwargs))
        to_device = name in ("tensor", "as_tensor") and not given and _device(kwargs) is not None
        if to_device or (name == "new_tensor" and not of_host):
            self._waits.append(f"{name} copies Python numbers to the device")
        making = not given and _device(kwargs) is None
        self._seen.making_on_host, before = making, self._seen.making_on_host
        try:
            result = func(*args, **kwargs)
        finally:
            self._seen.making_on_host = before
        if name == "to" and _are_of_host(args[:1]) and _names_a_device([*args[1:], *kwargs.values()]):
            if not kwargs.get("non_blocking"):
                self._waits.append("to copies from the host and waits")
            return result.clone()
        if of_host or making:
            keep_on_host(*_tensors(result))
        return result


class _Readings:
    """Sees the methods that read a tensor back without an operation, in the backward pass too."""

    def __init__(self, seen: HostWaits) -> None:
        self._waits = seen.waits

    def __enter__(self) -> None:
        for name in ("tolist", "numpy", "cpu"):
            setattr(Tensor, name, self._noting(name, getattr(Tensor, name)))

    def __exit__(self, *error: object) -> None:
        for name in ("tolist", "numpy", "cpu"):
            delattr(Tensor, name)  # what they are of comes from the base class again

    def _noting(self, name: str, read: Any) -> Any:
        def noted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not _are_of_host([tensor]):
                self._waits.append(f"{name} reads a tensor back")
            with torch._C.DisableTorchFunction():  # a mode would look the method up again, and find this one
                return read(tensor, *args, **kwargs)

        return noted


def keep_on_host(*tensors: Tensor) -> None:
    """Let tensors be those of the host."""
    for tensor in tensors:
        vars(tensor)["of_host"] = True


def _names_a_device(values: Sequence[object]) -> bool:
    return any(
        isinstance(value, torch.device) or (isinstance(value, Tensor) and not _are_of_host(value)) for value in values
    )


def _device(kwargs: Mapping[str, Any]) -> object:
    """The device that something is to be made on; None for the host."""
    return None if kwargs.get("device") == "cpu" or kwargs.get("generator") is not None else kwargs.get("device")


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]


def _are_of_host(values: Any) -> bool:
    tensors = _tensors(values)
    return bool(tensors) and all("of_host" in vars(tensor) for tensor in tensors)


def _is_state_of_a_generator(tensor: Tensor) -> bool:
    """Whether it is what generators, also those of accelerators, keep on the host."""
    return tensor.dtype == torch.uint8 and tensor.shape == torch.get_rng_state().shape


def _has_a_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
