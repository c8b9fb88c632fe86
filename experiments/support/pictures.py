"""Conversion of pictures to compressed text for a record, where a mask takes a few kilobytes, and back."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def telling(masks: Tensor, count: int) -> list[int]:
    """Choose `count` masks of shape (n, H, W) that show many classes: each adds the most that those before it lack.

    >>> import torch
    >>> telling(torch.tensor([[[0, 1]], [[0, 1]], [[1, 2]], [[0, 3]]]), 3)
    [0, 2, 3]
    """
    classes = [set(mask.unique().tolist()) for mask in masks]
    chosen: list[int] = []
    seen: set[int] = set()
    while len(chosen) < min(count, len(classes)):
        left = [index for index in range(len(classes)) if index not in chosen]
        chosen.append(max(left, key=lambda index: (len(classes[index] - seen), len(classes[index]))))
        seen |= classes[chosen[-1]]
    return sorted(chosen)


def to_text(picture: Tensor) -> dict[str, Any]:
    """Encode whole numbers from 0 to 255, of any shape, as JSON data.

    >>> import torch
    >>> picture_of(to_text(torch.tensor([[1, 2], [3, 255]]))).tolist()
    [[1, 2], [3, 255]]
    """
    pixels = picture.cpu().numpy().astype(np.uint8)
    packed = zlib.compress(pixels.tobytes(), level=9)
    return {"shape": list(pixels.shape), "pixels": base64.b64encode(packed).decode("ascii")}


def picture_of(text: dict[str, Any]) -> NDArray[np.uint8]:
    """Decode the array that `to_text` encoded."""
    packed = base64.b64decode(text["pixels"])
    return np.frombuffer(zlib.decompress(packed), dtype=np.uint8).reshape(text["shape"])
