"""Benchmark of the number of scenes that a core draws per second.

    python -m benchmarks.scenes      # half a minute; the record is runs/benchmarks/scenes-cpu.json

Goal: at least 1,000 scenes of 64×64 pixels a second on one core, images and all targets.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import torch

from experiments.support.tables import print_table
from odenet.data import Scenes
from odenet.data.scenes.batch import TARGETS
from odenet.training import Run

SIDES = (32, 64, 96, 128)
SCENES, REPETITIONS = 256, 15

GOAL = 1000
"""Scenes of 64×64 pixels per second."""


def seconds(scenes: Scenes) -> float:
    """Measure the CPU time of drawing images and all targets, which other load on the machine does not affect."""
    start = time.process_time()
    batch = scenes.draw(range(SCENES))
    for target in TARGETS.values():
        target(batch)
    _ = batch.boxes, batch.instances
    return time.process_time() - start


def measured(side: int) -> dict[str, list[float]]:
    """Measure the seconds of each repetition, after one warm-up."""
    scenes = Scenes((side, side))
    seconds(scenes)
    return {"seconds": [seconds(scenes) for _ in range(REPETITIONS)]}


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    torch.set_num_threads(1)
    path = Path("runs/benchmarks/scenes-cpu.json")
    run = Run.open("benchmarks.scenes", {"scenes": SCENES, "threads": 1}, path)
    rows = []
    for side in SIDES:
        spent = run.once(f"{side}×{side}", lambda side=side: measured(side))["seconds"]
        rows.append(
            {
                "quantity": f"scenes of {side}×{side} pixels with all targets, in a second of one core",
                "goal": f"≥ {GOAL:,}" if side == 64 else "–",
                "measured": f"{SCENES / median(spent):,.0f}",
                "beside it": f"slowest to fastest repetition: {SCENES / max(spent):,.0f} to {SCENES / min(spent):,.0f}",
            }
        )
    run.finish(table=rows)
    print_table("scenes", rows)
    print(f"record: {path}")


if __name__ == "__main__":
    main()
