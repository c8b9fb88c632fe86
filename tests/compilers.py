"""A context without a C++ compiler, for tests of the fallback of torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def without_compiler(empty: Path) -> Iterator[None]:
    """Hide the C++ compiler from torch.compile, and cached machine code by using the folder `empty` as cache."""
    from torch._inductor import config

    # inductor's own `patch`, because pytest's `setattr` would delete the option when it is undone.
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(empty))
        yield
