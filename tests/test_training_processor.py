"""A precision that the processor only emulates gives a warning, and no other does."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from odenet.blocks.errors import OdenetWarning
from odenet.training import Training, launch, processor
from odenet.training.processor import capabilities, computes_in_bfloat16

OLD = {"avx2": True, "avx512_f": False, "avx512_bf16": False, "amx_bf16": False, "l1d_cache_size": 49152}
SERVER = OLD | {"avx512_f": True, "avx512_bf16": True}
BF16, FLOAT32 = (Training(device="cpu", precision=precision) for precision in ("bf16-mixed", "32-true"))


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        (OLD, False),
        (OLD | {"avx512_f": True, "avx512_vnni": True}, False),
        (SERVER, True),
        (OLD | {"amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
        ({"cpu_name": "of another kind"}, True),
        ({}, True),
    ],
)
def test_a_processor_multiplies_in_bfloat16_if_it_has_any_instructions_for_it(
    abilities: dict[str, Any], expected: bool
) -> None:
    assert computes_in_bfloat16(abilities) is expected


@pytest.mark.parametrize(("settings", "abilities"), [(BF16, SERVER), (FLOAT32, OLD), (FLOAT32, SERVER)])
def test_nothing_is_said_where_the_processor_can_or_nobody_asks(
    settings: Training, abilities: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "capabilities", lambda: abilities)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OdenetWarning)
        launch(settings)


def test_bfloat16_on_a_processor_that_emulates_it_gives_a_warning_with_the_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processor, "capabilities", lambda: OLD)
    said = "precision='bf16-mixed' was asked for on a processor without .* 12 to 18 times .* Use precision='32-true'"
    with pytest.warns(OdenetWarning, match=said):
        launch(BF16)


def test_this_processor_is_known_or_nothing_is_said_of_it() -> None:
    assert isinstance(computes_in_bfloat16(capabilities()), bool)


@pytest.mark.parametrize(("capability", "expected"), [("AVX2", {"avx512_bf16": False}), ("SVE256", {})])
def test_an_older_torch_is_asked_by_its_own_names(
    capability: str, expected: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(_is_avx512_bf16_supported=lambda: False))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert capabilities() == expected
