"""AlexNet with two towers has the published numbers of parameters, layers and multiply-adds."""

from __future__ import annotations

import pytest
import torch

from odenet.measure import count_layers, count_multiply_adds, count_parameters
from odenet.models import alexnet_towers
from tests.network_cases import layers_to


def test_it_has_the_published_size():
    with torch.device("meta"):
        net, images = alexnet_towers(), torch.empty(1, 3, 227, 227)
        assert count_parameters(net) == 60_965_224
        assert count_layers(net) == layers_to(net(images)) == 8
        assert round(count_multiply_adds(net, images) / 1e9, 4) == 0.7244


def test_the_features_of_an_image_of_227_pixels_are_what_the_linear_layers_take():
    with torch.device("meta"):
        assert alexnet_towers().features(torch.empty(1, 3, 227, 227)).shape == (1, 256, 6, 6)


def test_images_below_39_pixels_are_refused():
    with torch.device("meta"):
        net = alexnet_towers(10, in_channels=1)
        assert net(torch.empty(2, 1, 39, 60)).shape == (2, 10)
        with pytest.raises(ValueError, match=r"TwoTowerAlexNet was given images of 38×60 pixels; .* below 39×39"):
            net(torch.empty(2, 1, 38, 60))


def test_a_number_of_classes_that_is_none_is_refused():
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, got 0"):
        alexnet_towers(0)
