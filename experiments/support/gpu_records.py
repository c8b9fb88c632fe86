"""Archives of the records of slices, and the merging of such records over seeds."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from experiments.support.slice_table import EXPERIMENTS
from odenet.training import Record, RecordError
from odenet.training.files import write_atomically
from odenet.training.json_data import differences


def pack(places: Iterable[tuple[Path, Path]], archive: Path) -> list[str]:
    """Write the finished records into a .tar.gz file, in one step; return their names in it.

    Args:
        places: Files of records, each with its name in the archive.
        archive: File to write.

    Raises:
        CannotWrite: if the disk is full.
    """
    buffer, names = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, name in places:
            if path.exists() and Record.load(path).finished:
                content, entry = path.read_bytes(), tarfile.TarInfo(name.as_posix())
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
                names.append(entry.name)
    write_atomically(archive, buffer.getvalue(), what="archive of records")
    return names


def unpacked(archive: Path) -> dict[PurePosixPath, Record]:
    """Return the records in an archive that `pack` wrote, by their names in it.

    Raises:
        ValueError: if the file is no such archive, or contains other files.
        RecordError: if a record cannot be read.
        FileNotFoundError: if there is no such file.
    """
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            contents = {PurePosixPath(entry.name): _content(tar, entry) for entry in tar}
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"'{archive}' was to be collected, but it is no whole archive of records ({error}): give the "
            "records.tar.gz that python -m experiments.on_gpu wrote."
        ) from error
    for name, content in contents.items():
        if (
            content is None
            or name.is_absolute()
            or ".." in name.parts
            or len(name.parts) != 2
            or name.suffix != ".json"
        ):
            raise ValueError(
                f"'{archive}' was to be collected, but it holds '{name}', which is no FOLDER/NAME.json of a record: "
                "give the records.tar.gz that python -m experiments.on_gpu wrote."
            )
    with TemporaryDirectory() as folder:
        for name, content in contents.items():
            write_atomically(Path(folder) / name, content or b"", what="record")
        return {name: Record.load(Path(folder) / name) for name in contents}


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | None:
    file = tar.extractfile(entry) if entry.isfile() else None
    return None if file is None else file.read()


def merged(records: Sequence[Record]) -> Record:
    """Merge records of different seeds into the record that one run of all seeds would have left.

    Results without a seed, such as counts and times, are taken from the first record that has them, and so are those of
    a seed that is in several records. The table is made again by the function `table` of the experiment.

    Raises:
        RecordError: if the records differ in settings other than seeds, or were made from other data.
    """
    whole = records[0]
    for record in records[1:]:
        whole = _joined(whole, record)
    if len(records) == 1 or "seeds" not in whole.settings:
        return whole
    whole = replace(whole, results={key: whole.results[key] for key in _ordered(whole)})
    table = import_module(f"experiments.{whole.experiment}").table(whole)
    return replace(whole, summary=whole.summary | {"table": table})


def _joined(whole: Record, record: Record) -> Record:
    own, other = (_seeds(one) for one in (whole, record))
    if lines := differences(_identity(whole), _identity(record)):
        raise RecordError(
            f"records of {whole.experiment} with the seeds {own} and {other} were to be merged, but have different "
            f"settings ({'; '.join(lines)}): remove the older one, and run its seeds again."
        )
    if not set(other) - set(own):
        return whole
    new = {key: result for key, result in record.results.items() if _is_new(key, own, whole)}
    if odd := [name for name, value in record.made_from.items() if whole.made_from.get(name, value) != value]:
        raise RecordError(
            f"records of {whole.experiment} with the seeds {own} and {other} were to be merged, but {odd[0]} is not "
            "the same in both: their results are not those of one experiment. Run both with the same data."
        )
    return replace(
        whole,
        settings=whole.settings | {"seeds": sorted({*own, *other})},
        results=whole.results | new,
        sessions=[*whole.sessions, *record.sessions],
        made_from=whole.made_from | record.made_from,
    )


def _is_new(key: str, seeds: Sequence[int], whole: Record) -> bool:
    """Whether `whole`, which has `seeds`, lacks a result: its seed is another one, or it has no seed and a new key."""
    return _seed(key) not in seeds and key not in whole.results


def _seeds(record: Record) -> list[int]:
    return list(record.settings.get("seeds", ()))


def _seed(key: str) -> int | None:
    """Return the seed in a key such as seed0/net; `None` for results without a seed."""
    number = key.partition("/")[0].removeprefix("seed")
    return int(number) if key.startswith("seed") and number.isdecimal() else None


def _ordered(whole: Record) -> list[str]:
    """Return the keys of results in the order of their seeds; results without a seed stay before or after these."""
    keys = list(whole.results)
    first = next((place for place, key in enumerate(keys) if _seed(key) is not None), len(keys))
    of_seeds = sorted((key for key in keys if _seed(key) is not None), key=lambda key: _seed(key) or 0)
    return [*keys[:first], *of_seeds, *(key for key in keys[first:] if _seed(key) is None)]


def _identity(record: Record) -> dict[str, Any]:
    settings = {name: value for name, value in record.settings.items() if name != "seeds"}
    return {"experiment": record.experiment, "preset": record.preset, "settings": settings}


def collect(archive: Path, records: Path) -> list[Path]:
    """Merge the records of an archive with those in a folder of collected ones; return the files that have changed.

    Nothing is written unless everything can be merged.

    Args:
        archive: File that `pack` wrote.
        records: Folder of collected records.

    Raises:
        ValueError: if the archive cannot be read.
        RecordError: if records do not belong together.
    """
    groups: dict[Path, list[Record]] = {}
    for name, record in unpacked(archive).items():
        groups.setdefault(records / target_of(name), []).append(record)
    results = {path: _with_collected(path, found) for path, found in groups.items()}
    for path, record in results.items():
        record.save(path)
    return list(results)


def _with_collected(path: Path, found: list[Record]) -> Record:
    """Merge the records found with the collected one, whose seeds take precedence; replace tests and benchmarks."""
    if found[0].experiment not in EXPERIMENTS:
        return found[-1]
    before = [Record.load(path)] if path.exists() else []
    return merged([*before, *sorted(found, key=_seeds)])


def target_of(name: PurePosixPath) -> PurePosixPath:
    """Return the name of the collected record: without the seed, or without the fingerprint of the code for tests.

    >>> str(target_of(PurePosixPath("degradation/gpu-digits-seed2.json")))
    'degradation/gpu-digits.json'
    """
    stem, _, last = name.stem.rpartition("-")
    return name.with_stem(stem) if last.startswith("seed") or name.parts[0] == "gpu_tests" else name
