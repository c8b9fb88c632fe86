"""What is made from records can be made from those of GPUs: presets `gpu` in miniature, with all their nets and keys.

A preset that cannot finish its record, or a claim or figure that reads what is only in the record of a processor, would
otherwise be found on the day when a GPU is lent.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from experiments.support.gpu_records import merged
from experiments.support.parts import PartedRun
from experiments.support.slice_table import EXPERIMENTS
from experiments.support.zoo import IMAGENET
from odenet.data import load
from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.pages import claims
from paper_figs.support.command import draw_records, scripts

IMAGES = 64
MINIATURE: dict[str, dict[str, Any]] = {
    "depth_refinement": {"widths": (2, 3, 4), "recalibration_images": 16, "blocks": 1},
    "degradation": {"widths": (4, 8, 16)},
    "complexity": {
        "batch_sizes": (1, 2),
        "repetitions": 1,
        "best": "resnet20/2",
        "best_epochs": 1,
        "zoo": ("linear", "conv6", "plain20", "resnet20"),
        "timed": ("alexnet", "googlenet_bn", "resnet18"),
        "counted": (*IMAGENET, "plain20", "resnet20"),
    },
    "to_continuous": {
        "channels": 4,
        "probe_images": 4,
        "test_images": 16,
        "repetitions": 1,
        "tolerances": (1e-1, 1e-3, 1e-5),
    },
    "segmentation": {"width": 2, "size": 24, "scenes": 16, "test_scenes": 8, "swap_scenes": 4, "repetitions": 1},
    "multilevel_training": {"widths": (2, 3, 4), "cycles": (2, 1, 1)},
    "stochastic_depth": {"widths": (2, 3, 4)},
    "solver_swap": {"widths": (2, 3, 4), "recalibration_images": 16, "blocks": 1},
    "categorization": {"size": (16, 16), "train_scenes": 64, "test_scenes": 64, "widths": (2, 4), "blocks": 1},
    "gradient_methods": {
        "widths": (2, 3, 4),
        "repetitions": 1,
        "steps": (8, 16, 32),
        "horizons": (1.0, 4.0),
        "conv_steps": (8, 16),
    },
    "gradient_flow": {"widths": (2, 3, 4), "steps": 20, "probe_images": 50, "batch": 16, "trained_seeds": 1},
    "is_it_an_ode": {
        "widths": (2, 3, 4),
        "layers": 2,
        "rates": ("one",),
        "recalibration_images": 16,
        "probe_images": 2,
    },
    "upsampling": {"widths": (4, 4), "size": 16, "scenes": 16, "test_scenes": 16, "repetitions": 1, "clutter": 0},
    "learning_rates": {"width": 4, "net": "mlp", "exponents": (0, 1)},
    "detection": {
        "width": 4,
        "size": 32,
        "scenes": 16,
        "mask_scenes": 8,
        "test_scenes": 8,
        "swap_scenes": 4,
        "pictures": 2,
    },
    "plane": {"points": 20, "test_points": 20, "width": 4, "blocks": 2, "grid": 3},
    "inception": {"batch": 1, "whole_batch": 1, "side": 64, "repetitions": 1},
    "sliding_window": {"sizes": (8, 16), "largest_window": 8, "largest_one_by_one": 8, "repetitions": 1, "grid": 1},
}
"""Fewer channels, steps and images; nothing that names a result is another but for depths of time."""

WORK = {"upsampling": "upsamplings"}
"""Names of the functions that are not called as their scripts are."""


def in_miniature(name: str) -> Any:
    """The preset `gpu` with few images, one seed and one epoch, in float32 on a processor."""
    settings = import_module(f"experiments.{name}").PRESETS["gpu"]
    changes = dict(MINIATURE[name])
    if hasattr(settings, "seeds"):
        changes["seeds"] = (0,)
    if hasattr(settings, "train_images"):
        changes |= {"train_images": IMAGES, "data": "digits"}
    if hasattr(settings, "training"):
        small = {"epochs": 1, "batch_size": 16, "lr": 0.001, "precision": "32-true", "device": "cpu", "threads": 1}
        changes["training"] = replace(settings.training, channels_last=False, **small)
    return replace(settings, **changes)


def made(name: str, folder: Path) -> Record:
    """The record of it."""
    script, settings = import_module(f"experiments.{name}"), in_miniature(name)
    data = load("digits", train_images=IMAGES) if hasattr(settings, "train_images") else None
    with PartedRun.open(name, settings, folder / "gpu.json", preset="gpu") as run:
        getattr(script, WORK.get(name, name))(settings, data, run)
    return Record.load(folder / "gpu.json")


def of_another_seed(record: Record) -> Record:
    """The same results under the name of seed 1."""
    results = {key.replace("seed0/", "seed1/", 1): result for key, result in record.results.items()}
    return replace(record, settings=record.settings | {"seeds": [1]}, results=results, made_from={})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_claims_and_figures_are_made_from_the_record_of_the_gpu_preset(name: str, tmp_path: Path):
    record = made(name, tmp_path)
    assert record.summary["table"]
    several = merged([record, of_another_seed(record)]) if "seeds" in record.settings else record
    assert len(several.summary["table"]) >= len(record.summary["table"])
    for whole in (with_the_size_of_the_claims(record), with_the_size_of_the_claims(several)):
        for claim in (claim for claim in claims()[name] if is_of(claim, name)):
            assert claim.words(whole)
            assert claim.ours(whole)
            assert claim.verdict(whole) in ("holds", "fails", "undecided")
    several.save(tmp_path / "several.json")
    for script in (script for script in scripts() if script.experiment == name):
        draw_records(script.name, script.draw, [tmp_path / "several.json"], tmp_path / "drawn", name)


def is_of(claim: Claim, experiment: str) -> bool:
    """Whether the claim is one on the first record of an experiment, by whatever machine."""
    own = claim.record.startswith(f"{experiment}/") and "garments" not in claim.record
    return own and claim.machine == "any"


def with_the_size_of_the_claims(record: Record) -> Record:
    """Let the smallest images of sliding_window stand for those of 128×128, which take 20 seconds."""
    if record.experiment != "sliding_window":
        return record
    return replace(record, results=record.results | {"size128": record.results["size8"]})


def test_every_experiment_is_among_them():
    assert set(MINIATURE) == set(EXPERIMENTS)
