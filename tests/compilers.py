"""A machine without a C++ compiler, for torch.compile."""

from __future__ import annotations

from pathlib import Path

import pytest


def without_compiler(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """torch.compile finds no C++ compiler, and in the folder `empty` no machine code of an earlier day."""
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(empty))
