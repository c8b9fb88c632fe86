"""Tests of `segment_image`: a photograph and a saved net give an overlay; unreadable files are one line of error."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from experiments.segment_image import PALETTE, Options, colour, main, overlay, read, segment_image
from experiments.support.segmentation_nets import segmentation_net
from odenet.models import unet
from odenet.training.saved_models import save_model


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def photograph(path: Path, height: int, width: int, mode: str = "RGB") -> None:
    """Write an image of noise."""
    Image.fromarray(noise(height, width, 4)).convert(mode).save(path)


def saved(folder: Path, **options: int) -> Path:
    torch.manual_seed(0)
    make = partial(unet, 4, widths=(4, 6), **options)
    save_model(make(), folder / "net.safetensors", make)
    return folder / "net.safetensors"


def test_the_overlay_has_the_size_of_the_photograph_and_shows_its_classes(tmp_path, capsys):
    photograph(tmp_path / "photo.png", 45, 70)
    out = segment_image(
        Options(tmp_path / "photo.png", saved(tmp_path, in_channels=3), tmp_path / "new/out.png", tile=40)
    )
    assert "photo.png, 70×45 pixels" in capsys.readouterr().out
    with Image.open(out) as picture, Image.open(tmp_path / "photo.png") as photo:
        assert picture.size == photo.size == (70, 45)
        assert picture.tobytes() != photo.tobytes()


def test_an_overlay_never_replaces_a_file(tmp_path):
    photograph(tmp_path / "photo.png", 20, 30)
    (tmp_path / "out.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"to be written to .*out.png, which exists already: move it, or give"):
        segment_image(Options(tmp_path / "photo.png", saved(tmp_path), tmp_path / "out.png"))
    assert (tmp_path / "out.png").read_bytes() == b"mine"


def test_tiles_do_not_show(tmp_path):
    photograph(tmp_path / "photo.png", 50, 60)
    net = saved(tmp_path, in_channels=3)
    whole, tiled = (
        segment_image(Options(tmp_path / "photo.png", net, tmp_path / f"{tile}.png", tile=tile)) for tile in (64, 32)
    )
    assert whole.read_bytes() == tiled.read_bytes()


@pytest.mark.parametrize(("mode", "of_net"), [("L", 3), ("RGB", 1), ("RGBA", 3), ("LA", 1)])
def test_grey_and_transparent_photographs_become_what_the_net_takes(tmp_path, mode, of_net):
    photograph(tmp_path / "photo.png", 20, 30, mode)
    assert read(tmp_path / "photo.png", of_net).shape == (of_net, 20, 30)


def test_a_net_of_grey_images_gives_an_overlay_in_colour(tmp_path):
    photograph(tmp_path / "photo.png", 20, 30)
    out = segment_image(Options(tmp_path / "photo.png", saved(tmp_path, in_channels=1), tmp_path / "out.png"))
    with Image.open(out) as picture:
        assert (picture.mode, picture.size) == ("RGB", (30, 20))


def test_a_photograph_taken_upright_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    Image.fromarray(noise(20, 30, 3)).save(tmp_path / "photo.jpg", exif=exif)
    assert read(tmp_path / "photo.jpg", 3).shape == (3, 30, 20)


def test_nets_of_the_experiment_are_read(tmp_path):
    make = partial(segmentation_net, "unet_flows", 3, width=2)
    save_model(make(), tmp_path / "net", make, names={"segmentation_net": segmentation_net})
    photograph(tmp_path / "photo.png", 20, 20)
    assert segment_image(Options(tmp_path / "photo.png", tmp_path / "net", tmp_path / "out.png")).exists()


def test_the_ground_is_left_and_the_other_classes_are_blended():
    photo = torch.full((3, 1, 2), 100, dtype=torch.uint8)
    painted = overlay(photo, torch.tensor([[0, 1]]), opacity=0.5)
    assert painted[:, 0, 0].tolist() == [100, 100, 100]
    assert painted[:, 0, 1].tolist() == [(100 + value) // 2 for value in (0x00, 0x72, 0xB2)]


def test_colours_come_again_without_that_of_the_ground():
    assert colour(7) == PALETTE[7]
    assert colour(8) == PALETTE[1]


def test_a_photograph_of_16_bits_is_read_as_it_looks(tmp_path):
    Image.fromarray(np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)).save(tmp_path / "photo.png")
    assert len(read(tmp_path / "photo.png", 3).unique()) == 256


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_file_that_is_no_picture_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"photo.png' cannot be read as an image \(.*\): it is damaged"):
        read(tmp_path / "photo.png", 3)


def test_a_net_for_neither_colour_nor_grey_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"takes images of 5 channels, but a photograph has 3.*odenet.training.segment"
    ):
        read(tmp_path / "photo.png", 5)


@pytest.mark.parametrize(("option", "value"), [("opacity", 1.5), ("std", 0.0)])
def test_options_outside_their_bounds_are_refused(option, value):
    with pytest.raises(ValueError, match=rf"{option}\b.*{value}"):
        Options(Path("photo"), Path("net"), **{option: value})


def test_on_the_command_line_errors_are_a_line(tmp_path, monkeypatch):
    arguments = ["segment_image", str(tmp_path / "missing.png"), str(saved(tmp_path, in_channels=3))]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match=re.escape("segment_image: ") + r".*missing\.png"):
        main()
