"""Output of a run of slices: records.tar.gz, machine.json and log.txt, rewritten after every slice."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.support.gpu_records import pack
from experiments.support.slice_schedule import Outcome
from experiments.support.slices import Slice
from odenet.training.files import CannotWrite, write_atomically

SHOWN = 6000
"""Number of characters that the log keeps of the output of a slice, from its end."""


class Report:
    """Writer of the output files of a run.

    Args:
        out: Folder of the files.
        machine: Facts of the machine.
        every: All slices, including those finished before this run, whose records may be only on this machine.
        begun: Start of the command by `time.monotonic`.
    """

    def __init__(self, out: Path, machine: Mapping[str, Any], every: Sequence[Slice], begun: float) -> None:
        self._out, self._machine, self._begun = out, machine, begun
        self._places = [(part.record, Path(part.record.parent.name) / part.record.name) for part in every]
        self._printed = 0

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write the three files, each atomically, and print the new outcomes."""
        for outcome in outcomes[self._printed :]:
            print(f"{self._seconds():6.0f} s  {line(outcome)}", flush=True)
            if outcome.how == "failed":
                print("\n".join(outcome.output.splitlines()[-12:]), flush=True)
        self._printed = len(outcomes)
        facts = {**self._machine, "seconds": round(self._seconds(), 1), "slices": [row(each) for each in outcomes]}
        log = "\n".join(f"{line(each)}\n{each.output[-SHOWN:]}" for each in outcomes)
        try:
            write_atomically(self._out / "machine.json", (json.dumps(facts, indent=1) + "\n").encode(), what="output")
            write_atomically(self._out / "log.txt", log.encode(), what="output")
            pack(self._places, self._out / "records.tar.gz")
        except CannotWrite as error:  # records are safe in their own folder, and the disk may have space later
            print(f"on_gpu: {error}", flush=True)

    def _seconds(self) -> float:
        return time.monotonic() - self._begun


def line(outcome: Outcome) -> str:
    """Return an outcome as a line of text: the slice, how it ended, its seconds and the expected ones."""
    how = outcome.how if outcome.exit_code in (0, None) else f"{outcome.how}, exit code {outcome.exit_code}"
    return f"{outcome.slice.name}: {how}, {outcome.seconds:.0f} s ({outcome.expected:.0f} expected)"


def row(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain data."""
    part = outcome.slice
    seconds = {"estimate": part.seconds, "expected": round(outcome.expected, 1), "seconds": round(outcome.seconds, 1)}
    return {"slice": part.name, "how": outcome.how, "exit_code": outcome.exit_code} | seconds
