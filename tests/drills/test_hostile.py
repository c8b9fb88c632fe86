"""Files that were written to run code, to fill the memory or to hang are refused by name, and none of that happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.support.network_files import read
from tests.drills import hostile_files
from tests.drills.hostile_files import DONE
from tests.drills.kinds_of_files import KINDS, Kind, fault_of
from tests.drills.limit import Limit, TookTooLong
from tests.drills.tally import Counting

RECORD, CHECKPOINT, MODEL, WEIGHTS, _ = KINDS
PTH = Kind("net.pth", CHECKPOINT.write, read, ValueError)
NET = Kind("net.safetensors", MODEL.write, read, ValueError)
"""What `is_it_an_ode` is asked about."""

FILES: dict[str, tuple[Kind, Callable[[Path], dict[str, bytes]]]] = {
    "records": (RECORD, lambda _: hostile_files.records()),
    "checkpoints": (CHECKPOINT, lambda _: hostile_files.pickles()),
    "nets of torchvision, .pth": (PTH, lambda _: hostile_files.pickles()),
    "nets of torchvision, .safetensors": (NET, lambda _: hostile_files.tensor_files()),
    "headers of saved models": (MODEL, lambda _: hostile_files.tensor_files()),
    "headers of weights": (WEIGHTS, lambda _: hostile_files.tensor_files()),
    "descriptions of saved models": (MODEL, hostile_files.saved_models),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_refused_by_name_and_run_no_code(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tally: Counting,
    limited: Limit,
) -> None:
    done = tmp_path / "done"
    monkeypatch.setenv(DONE, str(done))
    kind, make = FILES[name]
    path = tmp_path / kind.name
    with tally(f"hostile: {name}") as counts:
        faults: list[Any] = []
        for hostile, content in make(path).items():
            path.write_bytes(content)
            counts.tries += 1
            try:
                with limited():
                    fault = fault_of(kind, path)
            except TookTooLong as error:
                fault = str(error)
            if done.exists():
                fault = "it has run its code"
                done.rmdir()
            if fault:
                counts.unnoticed += 1
                faults.append((hostile, fault[:300]))
        counts.require_clean("\n".join(map(str, faults)))


def test_each_malice_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DONE, str(tmp_path / "done"))
    for name, malice in hostile_files.malices().items():
        if name == "torch.load":
            continue  # it stands for a second reader in the first
        function, arguments = malice.called
        function(*arguments)
        assert (tmp_path / "done").is_dir(), name
        (tmp_path / "done").rmdir()
