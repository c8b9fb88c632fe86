"""A machine without a C++ compiler, for torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def without_compiler(empty: Path) -> Iterator[None]:
    """torch.compile finds no C++ compiler, and in the folder `empty` no machine code of an earlier day."""
    from torch._inductor import config

    # Its own patch: the option is no attribute of the object that seems to hold it, and another's undoing removes it.
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(empty))
        yield
