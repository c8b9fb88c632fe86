"""What this machine's processor can do, as far as a training's settings depend on it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from odenet.blocks.errors import OdenetWarning


def warn_of_slow_bfloat16() -> None:
    """Give an `OdenetWarning` if bfloat16 is emulated here, so that it costs time in the place of saving it."""
    if not computes_in_bfloat16(capabilities()):
        warnings.warn(
            "precision='bf16-mixed' was asked for on a processor without instructions for bfloat16 (AVX-512-BF16, AMX, "
            "or those of Arm): it is emulated there, and convolutions took 12 to 18 times as long as in float32. Use "
            "precision='32-true' on this processor, or a GPU.",
            OdenetWarning,
            stacklevel=2,
        )


def computes_in_bfloat16(abilities: Mapping[str, Any]) -> bool:
    """Whether a processor of these abilities multiplies in bfloat16; where nothing is known of it, it is taken to.

    >>> computes_in_bfloat16({"avx2": True, "avx512_f": True, "avx512_bf16": False})
    False
    """
    known = {name: present for name, present in abilities.items() if isinstance(present, bool)}
    return not known or any(present and "bf16" in name for name, present in known.items())


def capabilities() -> Mapping[str, Any]:
    """Return the instruction sets that torch finds on this processor, by name; none where it does not say."""
    if (tell := getattr(torch.cpu, "get_capabilities", None)) is not None:
        return tell()
    of_older_torch = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}
    if torch.backends.cpu.get_cpu_capability() not in ("NO AVX", "DEFAULT", "AVX2", "AVX512"):
        return {}  # those names are of x86 alone
    return {name: bool(asks()) for name, ask in of_older_torch.items() if (asks := getattr(torch.cpu, ask, None))}
