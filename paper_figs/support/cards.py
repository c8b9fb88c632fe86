"""Choice between records of a GPU and of a processor, and the names of the cards that made a record."""

from __future__ import annotations

from pathlib import Path

from odenet.training import Record


def cards(record: Record) -> list[str]:
    """Return the names of the GPUs that a record was made on; none if it was made on a processor.

    A machine with a GPU may have been told not to use it, by the setting `device`, which a training has too.
    """
    training = record.settings.get("training")
    asked = training.get("device") if isinstance(training, dict) else record.settings.get("device")
    if asked == "cpu":
        return []
    machines = (session.get("machine") or {} for session in record.sessions)
    return list(dict.fromkeys(machine["gpu"] for machine in machines if machine.get("gpu")))


def preferred(path: Path) -> Path:
    """Return the path of the `gpu` record beside the `cpu` record at `path` if it exists, else `path`.

    Records of benchmarks are told apart by their device: `networks-cuda.json` goes before `networks-cpu.json`.
    """
    if path.stem.endswith("-cpu"):
        better = path.with_stem(f"{path.stem.removesuffix('-cpu')}-cuda")
    elif path.stem == "cpu" or path.stem.startswith("cpu-"):
        better = path.with_stem(f"gpu{path.stem.removeprefix('cpu')}")
    else:
        return path
    return better if better.exists() else path


def of_gpus_first(paths: list[Path]) -> list[Path]:
    """Return paths of records by name, those made on a GPU first."""
    return sorted(paths, key=lambda path: (not is_of_a_gpu(path), path))


def is_of_a_gpu(path: Path) -> bool:
    """Whether a record was made on a GPU, by its file name."""
    return path.stem.partition("-")[0] in ("gpu", "full") or path.stem.endswith("cuda")
