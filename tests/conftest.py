"""What every test runs under: a thread a worker, examples without deadlines, data sets in a folder of the session's."""

from __future__ import annotations

import getpass
import os
import platform
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# An example's first call may compile or load, and a busy machine makes examples slowly: neither says anything about the
# law. In CI the examples are the same each time, so that a failure there is a failure here.
hypothesis.settings.register_profile(
    "odenet",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis.settings.load_profile("odenet")

_REAL_DATA_ROOT = Path(os.environ.get("ODENET_DATA") or Path(__file__).parents[1] / "data")


def pytest_configure(config: pytest.Config) -> None:
    """Gives each xdist worker one thread, and so the programs that its tests start: together they fill the cores."""
    # Torch reads it once, at the first matrix product on a GPU, and one test in a process may be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_machine_code_of_this_processor()))
    if hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = "1"
        import torch

        torch.set_num_threads(1)


def _machine_code_of_this_processor() -> Path:
    """Where torch.compile keeps machine code; that of another processor, in a copied folder, would end the process."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    features = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0] if lines else "")
    key = zlib.crc32((features + os.environ.get("ATEN_CPU_CAPABILITY", "")).encode())
    return Path(tempfile.gettempdir()) / f"odenet-machine-code-{getpass.getuser()}-{key:08x}"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names a parameter of bytes by its length: its content may hold a time, and the workers must agree on names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `gpu` where there is no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _gpu_is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and this machine has none: see `make gpu`"))


def _gpu_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def real_data_root() -> Path:
    """Where the user's data sets are, for tests of the real ones, which skip where these are absent."""
    return _REAL_DATA_ROOT


@pytest.fixture(scope="session", autouse=True)
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder where data sets are looked for by default: no test downloads into the user's own."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ODENET_DATA", str(root))
        yield root
