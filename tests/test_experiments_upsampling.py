"""Tests of the experiment on upsampling: its examples, nets, figures and claims."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from experiments.support.upsampling_examples import examples
from experiments.upsampling import PRESETS, UPSAMPLINGS, Upsamplings, network
from odenet.training import Record
from paper_figs import upsampling, upsampling_examples
from paper_figs.claims.upsampling import CLAIMS

SMOKE = PRESETS["smoke"]


def record(**better: float) -> Record:
    """Return a record of invented numbers: each score is 0.5, and `better` of the net more for max unpooling."""
    results: dict[str, Any] = {"examples": examples()}
    for seed in (0, 1):
        for net in SMOKE.nets:
            for name in UPSAMPLINGS:
                score = 0.5 + better.get(net, 0) * (name == "max unpooling")
                board = 0.2 if name == "transpose 3×3" else 0.001
                results[f"seed{seed}/{net}/{name}"] = {
                    "mean_iou": score,
                    "boundary_f1": score,
                    "initial_checkerboard": board,
                    "checkerboard": board / better.get("trained", 4),
                }
    for net in SMOKE.nets:
        slow = {name: better.get("slowest", 1.1) if name == "bilinear" else 1.0 for name in UPSAMPLINGS}
        results[f"times/{net}"] = {"seconds": slow}
    settings = {"nets": list(SMOKE.nets), "upsamplings": list(UPSAMPLINGS), "seeds": [0, 1]}
    return Record("upsampling", "cpu", settings, results=results)


def texts(figure: Figure, panel: int) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def test_the_examples_in_the_record_are_those_of_the_lecture():
    made = examples()
    assert made["nearest"] == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert made["bed of nails"] == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert made["pooled"] == [[5, 6], [7, 8]]
    assert made["unpooled"] == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    assert made["written"] == [[2, 20, 200, 0, 0], [0, 0, 3, 30, 300]]
    assert made["transposed"] == [2, 20, 203, 30, 300]
    assert made["overlap"][:2] == [[1, 2, 1, 2, 1, 1], [2, 4, 2, 4, 2, 2]]


def test_the_figure_of_the_examples_shows_the_numbers_of_the_record():
    made = record()
    made.results["examples"]["transposed"][2] = 777.0
    figure = upsampling_examples.draw(made)
    assert [axes.get_title(loc="left")[0] for axes in figure.axes] == list("abcdef")
    assert texts(figure, 0)[:4] == ["1", "2", "3", "4"]
    assert "777" in texts(figure, 4)
    assert texts(figure, 5).count("4") == 4


def test_the_figure_has_a_row_for_each_upsampling_and_a_panel_for_each_measure():
    figure = upsampling.draw(record())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(UPSAMPLINGS)
    assert len(figure.axes) == 4


@pytest.mark.parametrize("net", SMOKE.nets)
def test_nets_differ_in_their_upsampling_alone(net):
    with torch.device("meta"):
        shapes = [
            {
                name: value.shape
                for name, value in network(net, kind, SMOKE, 5).state_dict().items()
                if "ups." not in name
            }
            for kind in UPSAMPLINGS
        ]
    assert shapes[0]
    assert all(others == shapes[0] for others in shapes)


def test_claims_hold_of_numbers_that_bear_them_out_and_not_of_others():
    expected = record(deconvnet=0.1)
    assert [claim.verdict(expected) for claim in CLAIMS] == ["holds"] * 5 + ["undecided"]  # times were measured once
    assert all(claim.ours(expected) for claim in CLAIMS)
    otherwise = record(deconvnet=-0.1, unet=0.2, trained=1, slowest=2)
    verdicts = ["fails", "fails", "fails", "holds", "fails", "undecided"]
    assert [claim.verdict(otherwise) for claim in CLAIMS] == verdicts


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"nets": ("u-net",)}, r"unknown nets\[0\] 'u-net'; did you mean 'unet'"),
        (
            {"upsamplings": ("transpose 3x3",)},
            r"unknown upsamplings\[0\] 'transpose 3x3'; did you mean 'tr",
        ),
    ],
)
def test_unknown_nets_and_upsamplings_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Upsamplings(**options)
