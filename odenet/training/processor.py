"""Capabilities of the processor on which the settings of a training depend."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from odenet.blocks.errors import OdenetWarning


def warn_of_slow_bfloat16() -> None:
    """Give an `OdenetWarning` if this processor emulates bfloat16, which is then slower than float32."""
    if not computes_in_bfloat16(capabilities()):
        warnings.warn(
            "precision='bf16-mixed' was asked for on a processor without instructions for bfloat16 (AVX-512-BF16, AMX, "
            "or those of Arm): it is emulated there, and convolutions took 12 to 18 times as long as in float32. Use "
            "precision='32-true' on this processor, or a GPU.",
            OdenetWarning,
            stacklevel=2,
        )


def computes_in_bfloat16(features: Mapping[str, Any]) -> bool:
    """Whether a processor with these features has instructions for bfloat16; `True` if nothing is known.

    >>> computes_in_bfloat16({"avx2": True, "avx512_f": True, "avx512_bf16": False})
    False
    """
    known = {name: present for name, present in features.items() if isinstance(present, bool)}
    return not known or any(present and "bf16" in name for name, present in known.items())


def capabilities() -> Mapping[str, Any]:
    """Return the instruction sets that torch finds on this processor, by name; empty if torch cannot tell."""
    if (tell := getattr(torch.cpu, "get_capabilities", None)) is not None:
        return tell()
    of_older_torch = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}
    if torch.backends.cpu.get_cpu_capability() not in ("NO AVX", "DEFAULT", "AVX2", "AVX512"):
        return {}  # the names below are those of x86
    return {name: bool(asks()) for name, ask in of_older_torch.items() if (asks := getattr(torch.cpu, ask, None))}
