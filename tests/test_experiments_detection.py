"""Detectors of the experiment on detection, and what is measured of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.detection import PRESETS, data_of, detection
from experiments.support.detection_nets import COMPARED, MASKS, NETS, detection_net
from experiments.support.detections import (
    STATISTICS,
    STEPPINGS,
    objects_as_data,
    precision_of,
    precision_recall,
    under_other_steppings,
)
from experiments.support.object_names import numbered
from experiments.support.pictures import picture_of
from odenet import Mixed, ODEBlock
from odenet.data import ObjectBatches, Scenes
from odenet.measure import count_parameters
from odenet.training import Detection, Run, evaluate
from paper_figs import detection as gallery
from paper_figs import detection_precision, detection_steps, five_problems
from paper_figs.claims.detection import CLAIMS

SCENES = Scenes(size=(32, 32), clutter=(0, 0))
TASK = Detection(SCENES.classes)


def small(name: str = "fcos_flows") -> nn.Module:
    torch.manual_seed(0)
    return detection_net(name, 5, size=32, width=4)


def test_the_nets_of_a_kind_have_the_same_parameters() -> None:
    sizes = {name: count_parameters(small(name)) for name in NETS}
    assert len({sizes[name] for name in NETS if name in MASKS}) == 1
    assert len({sizes[name] for name in NETS if name not in MASKS}) == 1
    assert set(COMPARED) <= set(NETS)


def test_mixed_flows_are_trained_under_three_steppings() -> None:
    blocks = [module for module in small("fcos_mixed").modules() if isinstance(module, ODEBlock)]
    assert all(isinstance(block.stepping, Mixed) for block in blocks)


def test_an_unknown_net_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown net 'yolo'"):
        detection_net("yolo", 5)


def test_precision_with_running_statistics_is_that_of_an_evaluation() -> None:
    net, test = small(), ObjectBatches(SCENES, 8, 4)
    expected = evaluate(net, TASK, test)
    assert precision_of(net, TASK, test) == {
        name: pytest.approx(expected[name], nan_ok=True) for name in ("mAP", "AP50")
    }
    assert net.training


def test_other_steppings_leave_the_net_as_it_is_and_statistics_of_the_batch_are_others() -> None:
    net, test = small(), ObjectBatches(SCENES, 4, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    results = under_other_steppings(net, TASK, test)
    assert results.keys() == STEPPINGS.keys()
    assert all(results[name].keys() == {"evaluations", *STATISTICS} for name in results)
    assert results["euler×4"]["evaluations"] > results["euler×2"]["evaluations"] > results["euler×1"]["evaluations"]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    images = next(test.epoch(0))[0]
    maps: list[Any] = []
    for context in STATISTICS.values():
        net.eval()
        with context(net):
            maps.append(net.get_submodule("backbone")(images)["0"])
    assert not torch.allclose(*maps)


def test_a_curve_has_a_precision_for_each_of_101_recalls() -> None:
    curves = precision_recall(small(), TASK, ObjectBatches(SCENES, 4, 4))
    assert {name: len(curve) for name, curve in curves.items()} == {"0.50": 101, "0.75": 101}


def test_objects_as_data_have_boxes_x_y_width_height_and_masks_the_best_first() -> None:
    masks = torch.zeros(2, 1, 4, 4)
    masks[1, 0, 1:, 2:] = 0.7
    found = {
        "boxes": torch.tensor([[0.0, 0, 4, 4], [2, 1, 4, 4]]),
        "labels": torch.tensor([1, 2]),
        "scores": torch.tensor([0.5, 0.75]),
        "masks": masks,
    }
    data = objects_as_data(found)
    assert data["boxes"] == [[2, 1, 2, 3], [0, 0, 4, 4]]
    assert data["labels"] == [2, 1]
    assert data["scores"] == [0.75, 0.5]
    assert picture_of(data["masks"]).sum(axis=(1, 2)).tolist() == [6, 0]
    assert objects_as_data(found, least_score=0.6)["labels"] == [2]


def test_objects_are_numbered_within_their_class() -> None:
    assert numbered([4, 1, 4], SCENES.classes) == ["Person1", "Horse1", "Person2"]


def test_the_figures_and_claims_are_drawn_from_a_record(tmp_path: Path) -> None:
    settings = PRESETS["smoke"]
    with Run.open("detection", settings, tmp_path / "smoke.json", preset="smoke") as run:
        detection(settings, None, run)
    for figure in (gallery, detection_precision, detection_steps, five_problems):
        assert figure.draw(run.record).axes
    panels = five_problems.draw(run.record).axes
    assert [axes.get_title(loc="center") for axes in panels] == [
        "one label",
        "many labels",
        "a class for each pixel",
        "detection: (x, y, w, h)",
        "instances",
    ]
    assert "% AP50" in CLAIMS[0].ours(run.record)
    assert all(claim.verdict(run.record) in ("fails", "undecided") for claim in CLAIMS)  # of one seed


def test_the_test_scenes_are_the_same_for_all_seeds_and_others_than_those_of_the_training() -> None:
    settings = PRESETS["smoke"]
    first, second = (data_of(settings, None, seed, masks=False) for seed in (0, 1))
    assert torch.equal(next(first.test.epoch(0))[0], next(second.test.epoch(0))[0])
    assert not torch.equal(next(first.train.epoch(0))[0], next(second.train.epoch(0))[0])
