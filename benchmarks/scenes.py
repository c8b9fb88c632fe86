"""How many scenes are drawn in a second.

    python -m benchmarks.scenes      # half a minute; the record is runs/benchmarks/scenes-DEVICE.json

Goal: at least 1,000 scenes of 64×64 pixels a second on one core, images and all targets.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median

import torch

from experiments.tables import print_table
from odenet.data import Scenes
from odenet.data.scene_batch import TARGETS
from odenet.measure import interleaved
from odenet.training import Run

SIDES = (32, 64, 96, 128)
SCENES = 256
"""In a repetition."""

GOAL = 1000
"""Scenes of 64×64 pixels a second."""


def draw(scenes: Scenes) -> None:
    """Images and every target."""
    batch = scenes.draw(range(SCENES))
    for target in TARGETS.values():
        target(batch)
    _ = batch.boxes, batch.instances


def main() -> None:
    """Time every size by turns, once, and print the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    path = Path("runs/benchmarks") / f"scenes-{device}.json"
    run = Run.open("benchmarks.scenes", {"device": device, "threads": 1}, path)

    def timed() -> dict[str, list[float]]:
        contestants = {f"{side}×{side}": partial(draw, Scenes((side, side)).to(device)) for side in SIDES}
        return interleaved(contestants, repetitions=15)

    rows = [
        {
            "quantity": f"scenes of {size} a second, all targets, {device}, one thread",
            "goal": f"≥ {GOAL:,}" if size == "64×64" else "–",
            "measured": f"{SCENES / median(seconds):,.0f}",
            "beside it": f"{SCENES / max(seconds):,.0f} to {SCENES / min(seconds):,.0f}",
        }
        for size, seconds in run.once("seconds", timed).items()
    ]
    run.finish(table=rows)
    print_table(f"scenes, {device}", rows)
    print(f"record: {path}")


if __name__ == "__main__":
    main()
