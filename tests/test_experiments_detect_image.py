"""The overlay and the list of objects for a photograph of one's own."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from experiments import detect_image
from experiments.detect_image import Options, as_json, found_objects, main, overlay
from experiments.support.detection_nets import detection_net
from odenet.data.detection_images import mask_of
from odenet.data.image_files import read_picture
from odenet.models import unet
from odenet.training.saved_models import save_model


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(params=["fcos_flows", "mask_rcnn_flows"])
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    make = partial(detection_net, request.param, 5, size=32, width=4)
    save_model(make().eval(), tmp_path / "net.safetensors", make, names={"detection_net": detection_net})
    return tmp_path / "net.safetensors"


class Finds:
    """A detector that finds two objects, whatever it is shown."""

    def __init__(self, score: float = 0.9, masks: bool = True) -> None:
        self.score, self.masks = score, masks

    def __call__(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        height, width = images[0].shape[1:]
        soft = torch.zeros(3, 1, height, width)
        soft[:, 0, 5:10, 4:20] = 0.9
        found = {
            "boxes": torch.tensor([[4.0, 5, 20, 10], [4, 5, 20, 10], [1, 1, 2, 2]]),
            "labels": torch.tensor([4, 1, 1]),
            "scores": torch.tensor([0.6, self.score, 0.2]),
        }
        return [found | ({"masks": soft} if self.masks else {})]

    def eval(self) -> Any:
        return self


def test_an_untrained_net_writes_an_overlay_of_the_photograph_and_a_list(
    net: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["detect_image", str(net), str(photo), "--out", str(tmp_path / "o.png"), "--least-score", "0.06"]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    assert read_picture(tmp_path / "o.png").shape == (3, 40, 50)
    content = json.loads((tmp_path / "o.json").read_text("utf-8"))
    assert content["size"] == [40, 50]
    assert all({"object", "score", "box", "label"} <= entry.keys() for entry in content["objects"])


def options(photo: Path, **more: Any) -> Options:
    return Options(net=Path("net"), photo=photo, **more)


def test_objects_are_named_by_class_and_number_with_boxes_x_y_width_height(photo: Path) -> None:
    found = found_objects(Finds(), read_picture(photo), options(photo))  # pyright: ignore[reportArgumentType]
    assert [(entry["object"], entry["box"]) for entry in found] == [
        ("Horse1", [4, 5, 16, 5]),
        ("Person1", [4, 5, 16, 5]),
    ]
    found = found_objects(Finds(), read_picture(photo), options(photo, least_score=0.1))  # pyright: ignore
    assert [entry["object"] for entry in found] == ["Horse1", "Person1", "Horse2"]


def test_masks_in_the_list_are_those_that_are_drawn(photo: Path) -> None:
    picture = read_picture(photo)
    found = found_objects(Finds(), picture, options(photo))  # pyright: ignore[reportArgumentType]
    for entry in found:
        again = mask_of(as_json(entry)["mask"], (40, 50), "it")
        assert torch.equal(again.bool(), entry["mask"])
    painted = overlay(picture, found, opacity=0.5)
    changed = (painted != picture).any(dim=0)
    assert changed[6:9, 6:18].all()
    assert not changed[30:].any()


def test_a_mask_that_begins_inside_has_a_first_run_of_no_length() -> None:
    mask = torch.zeros(2, 2, dtype=torch.bool)
    mask[0, 0] = True
    assert as_json({"mask": mask})["mask"] == {"size": [2, 2], "counts": [0, 1, 3]}


def test_nothing_found_leaves_the_photograph_as_it_is(photo: Path) -> None:
    picture = read_picture(photo)
    assert overlay(picture, [], 0.5) is picture


def test_scores_that_are_not_finite_are_refused_with_the_photograph(photo: Path) -> None:
    with pytest.raises(ValueError, match=r"objects in '.*photo.png' with scores that are not finite"):
        found_objects(Finds(float("nan")), read_picture(photo), options(photo))  # pyright: ignore


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["detect_image", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return str(caught.value)


def test_files_that_exist_a_missing_photograph_and_another_net_are_refused(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = partial(unet, widths=(2, 4))
    save_model(make(), tmp_path / "unet.safetensors", make)
    net, out = str(tmp_path / "unet.safetensors"), str(tmp_path / "new.png")
    assert "holds a UNet, which finds no objects" in refused([net, str(photo), "--out", out], monkeypatch)
    assert "exists already: move it" in refused([net, str(photo), "--out", str(photo)], monkeypatch)
    (tmp_path / "new.json").write_text("", "utf-8")
    assert "new.json was to be written and exists" in refused([net, str(photo), "--out", out], monkeypatch)
    assert "there is no saved model" in refused([str(tmp_path / "no.safetensors"), str(photo)], monkeypatch)
    assert detect_image.SCENES[0] == "horse"
