"""Arrays as text in a record: their shape and their numbers with two decimals, one line each instead of thousands."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor


def packed(x: Tensor) -> dict[str, Any]:
    """Return an array as JSON data, which `unpacked` reads.

    >>> import torch
    >>> packed(torch.tensor([[0.123, -4.0]]))
    {'shape': [1, 2], 'values': '0.12 -4'}
    """
    return {
        "shape": list(x.shape),
        "values": " ".join(f"{v:.2f}".rstrip("0").rstrip(".") for v in x.flatten().tolist()),
    }


def unpacked(data: dict[str, Any]) -> np.ndarray:
    """Return the array that `packed` made to JSON data.

    >>> unpacked({"shape": [1, 2], "values": "0.12 -4"})
    array([[ 0.12, -4.  ]])
    """
    return np.array([float(value) for value in data["values"].split()]).reshape(data["shape"])
