"""What can a GPU find out in some minutes? This command makes the most valuable records that fit into the time.

    python -m experiments.on_gpu --minutes 8 --out OUT       # on a machine with a GPU; make gpu MINUTES=8 OUT=OUT
    python -m experiments.on_gpu --collect records.tar.gz    # at home: merge seeds, draw figures, write tables
    python -m experiments.on_gpu --plan                      # what would run, and what is in its way; needs no GPU
    python -m experiments.on_gpu --minutes 8 --out OUT --device cpu --preset smoke    # all of it in miniature, on a CPU

The work is divided into slices of at most two minutes, in the order of their value: tests, benchmarks, and each seed of
each experiment (`experiments/support/slice_table.py`). Slices whose records are in `records/` already are not run
again, so that the next call continues. First the machine is checked; then slices run one after the other while they
fit, each in its own process group. After every slice, OUT has the finished records (records.tar.gz), the facts of the
machine and the times (machine.json), and everything printed (log.txt).
"""

from __future__ import annotations

import argparse  # not tyro, which may be missing on the machine
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.support import gpu_machine
from experiments.support.gpu_machine import CannotStart

if TYPE_CHECKING:
    from experiments.support.slices import Slice

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    minutes: float
    out: Path
    device: str
    preset: str
    records: Path
    data_root: Path | None
    plan: bool
    collect: Path | None


def main() -> None:
    """Parse the command line, and run slices or collect their records."""
    begun = time.monotonic()
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("on_gpu: ended by SIGTERM; what is finished is in the output."))
    try:
        gpu_machine.require_clone(ROOT)
        gpu_machine.require_packages()
        if options.collect is not None:
            collect(options.collect, options.records)
        else:
            run(options, begun)
    except (CannotStart, ValueError, OSError) as error:
        sys.exit(f"on_gpu: {error}")


def parse(arguments: list[str]) -> Options:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser("python -m experiments.on_gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="minutes until everything ends, the check included")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/on_gpu/out"), help="folder of the output, which is to be copied back"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="device of all slices")
    parser.add_argument("--preset", default="gpu", help="preset of the experiments: gpu, full, or smoke for a trial")
    parser.add_argument("--records", type=Path, default=Path("records"), help="folder of the collected records")
    parser.add_argument(
        "--data-root", type=Path, help="folder of the data sets; by default that of ODENET_DATA, or data/"
    )
    parser.add_argument("--plan", action="store_true", help="print the slices that are left, and run nothing")
    parser.add_argument("--collect", type=Path, metavar="FILE", help="records.tar.gz of a run, to merge and draw")
    options = Options(**vars(parser.parse_args(arguments)))
    if not 0 < options.minutes < math.inf:
        sys.exit(
            f"on_gpu: --minutes must be above 0 and finite, got {options.minutes:g}: slices take time; give, say, 8."
        )
    return options


def run(options: Options, begun: float) -> None:
    """Check the machine, and run the slices that are left while they fit.

    Raises:
        CannotStart: if the machine, the data or a record prevents it; nothing has run then.
    """
    from experiments.support.slice_processes import SliceProcess
    from experiments.support.slice_report import Report
    from experiments.support.slice_schedule import MachineClock, Schedule
    from experiments.support.slices import data_of

    every, left = work(options)
    if options.plan or not left:
        return show(left, len(every))
    gpu_machine.require_room(options.out)
    environment = environment_of(options)
    facts = gpu_machine.measured_facts(options.device, environment)
    gpu_machine.require_card(facts)
    gpu_machine.unpack(Path(environment["ODENET_DATA"]))
    gpu_machine.require_data(data_of(left), Path(environment["ODENET_DATA"]))
    left = [part.as_measured(facts["card"]) for part in left]
    report = Report(options.out, facts, every, begun)
    deadline = begun + 60 * options.minutes
    schedule = Schedule(left, lambda: SliceProcess(environment), deadline, MachineClock(), report.write)
    if schedule.next() is None:
        raise CannotStart(too_short(options.minutes, left, time.monotonic() - begun))
    report.write([])
    outcomes = schedule.run()
    print(f"{len(left) - len(outcomes)} slices are left; the output is in {options.out}")
    if failed := [outcome.slice.name for outcome in outcomes if outcome.how == "failed"]:
        sys.exit(
            f"on_gpu: {len(failed)} of {len(outcomes)} slices failed ({', '.join(failed)}); see {options.out}/log.txt"
        )
    return None


def work(options: Options) -> tuple[list[Slice], list[Slice]]:
    """Return all slices, and the slices without a finished record.

    Raises:
        CannotStart: if the preset is unknown, or records of other settings are in the way.
    """
    from experiments.support.slices import refusals, slices

    every = slices(options.preset, options.device, options.records)
    if not any(part.kind == "experiment" for part in every):
        raise CannotStart(
            f"--preset {options.preset} was asked for, but no experiment has it: give gpu, full or smoke."
        )
    if problems := refusals(every):
        raise CannotStart("\non_gpu: ".join(problems))
    return every, [part for part in every if not part.is_done()]


def show(left: list[Slice], slices: int) -> None:
    """Print the slices that are left, in their order."""
    print(f"{slices - len(left)} of {slices} slices have their records; {len(left)} are left:")
    for part in left:
        print(f"{part.seconds:6.0f} s  {part.name}")


def environment_of(options: Options) -> dict[str, str]:
    """Return the environment variables of the processes of slices.

    Raises:
        CannotStart: if no commit is known.
    """
    from odenet.data import data_root
    from odenet.training.environment import commit

    if (name := commit()) is None:
        raise CannotStart(
            "records name the commit of the code, but git does not know it here: set ODENET_COMMIT to the output of "
            "`git rev-parse HEAD` on the machine that the code comes from."
        )
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    data = str(data_root(options.data_root).absolute())
    own = {"PYTHONPATH": path, "ODENET_DATA": data, "ODENET_COMMIT": name, "PYTHONUNBUFFERED": "1"}
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    return os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | own | hidden


def too_short(minutes: float, left: list[Slice], check: float) -> str:
    """Return the message that no slice fits, with the minutes that the shortest one needs."""
    from experiments.support.slice_schedule import RESERVE, SLACK

    shortest = min(left, key=lambda part: part.seconds)
    needed = (SLACK * shortest.seconds + RESERVE + check) / 60
    return (
        f"--minutes {minutes:g} was asked for, but the shortest slice that is left ({shortest.name}, "
        f"{shortest.seconds:.0f} s) needs {math.ceil(10 * needed) / 10:g} with the check of the machine: give as many."
    )


def collect(archive: Path, records: Path) -> None:
    """Merge the records of a run with those of a folder, and draw figures and tables of those that have changed."""
    from experiments.support import gpu_records
    from experiments.support.collected import redraw

    changed = gpu_records.collect(archive, records)
    for path in changed:
        print(f"record: {path}")
    redraw(changed, records)


if __name__ == "__main__":
    main()
