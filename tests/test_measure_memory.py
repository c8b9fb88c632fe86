"""Bytes are those counted by hand, each storage once, and the same on the meta device; peaks count live tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet import Backprop, BasicBranch, Constant, ContinuousAdjoint, FixedSteps, ODEBlock
from odenet.blocks.gradients.base import GradientMethod
from odenet.measure import activation_bytes, peak_bytes, peak_cuda_bytes
from odenet.models import googlenet, resnet20, vgg16

FLOAT = 4


def test_a_chain_keeps_its_input_and_each_relu_and_no_weights():
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    assert activation_bytes(net, torch.randn(3, 10)) == FLOAT * 3 * (10 + 20 + 5)


def test_a_tensor_that_two_layers_save_counts_once():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(10, 10), nn.Linear(10, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) + self.two(x.view(-1, 10))

    assert activation_bytes(Twice(), torch.randn(3, 10)) == FLOAT * 3 * (10 + 10)


def test_batch_norm_keeps_its_input_and_two_statistics():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert activation_bytes(net, torch.randn(4, 1, 8, 8)) == FLOAT * (4 * 64 + 2 * 4 * 2 * 36 + 2 * 2)


def test_max_pooling_keeps_eight_bytes_for_the_place_of_each_maximum():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2))
    assert activation_bytes(net, torch.randn(1, 1, 8, 8)) == FLOAT * (64 + 64 + 16) + 8 * 16


def test_a_net_with_several_outputs_counts_them_all():
    with torch.device("meta"):
        alone, with_auxiliaries = (
            activation_bytes(googlenet(10, auxiliary=None), torch.empty(1, 3, 64, 64)),
            activation_bytes(googlenet(10), torch.empty(1, 3, 64, 64)),
        )
    assert with_auxiliaries > alone + 2 * FLOAT * (128 * 16 + 1024 + 10)


@pytest.mark.parametrize("make", [resnet20, lambda: googlenet(10)])
def test_the_count_on_the_meta_device_is_that_of_the_cpu(make):
    net, images = make(), torch.randn(2, 3, 32, 32)
    assert activation_bytes(net.to("meta"), images.to("meta")) == activation_bytes(make(), images)


def test_what_is_kept_is_proportional_to_the_batch_without_batch_norm():
    with torch.device("meta"):
        net = vgg16()
        one, four = (activation_bytes(net, torch.empty(n, 3, 224, 224)) for n in (1, 4))
    assert four == 4 * one


def test_the_adjoint_keeps_one_state_whatever_the_steps_and_backprop_more_with_each():
    x = torch.randn(2, 4, 6, 6)

    def kept(gradient: GradientMethod, steps: int) -> int:
        return activation_bytes(ODEBlock(Constant(BasicBranch(4)), FixedSteps("euler", steps), gradient), x)

    assert kept(ContinuousAdjoint(), 2) == kept(ContinuousAdjoint(), 8)
    assert kept(Backprop(), 8) > 3 * kept(Backprop(), 2)


def test_measuring_leaves_the_mode_and_no_gradients():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout()).eval()
    activation_bytes(net, torch.randn(2, 4))
    assert not net.training
    assert all(p.grad is None for p in net.parameters())


def test_at_the_peak_a_chain_without_gradients_has_two_maps_alive():
    net, x = nn.Sequential(*(nn.Linear(10, 10) for _ in range(5))), torch.randn(3, 10)
    with torch.no_grad():
        assert peak_bytes(lambda: net(x)) == 2 * FLOAT * 30


def test_with_gradients_every_map_stays_alive():
    layers = 5
    net, x = nn.Sequential(*(nn.Sequential(nn.Linear(10, 10), nn.Tanh()) for _ in range(layers))), torch.randn(3, 10)
    assert peak_bytes(lambda: net(x)) == (layers + 1) * FLOAT * 30  # plus the last layer's map before its tanh


def test_a_training_step_peaks_above_what_it_keeps_and_its_gradients():
    net, x = resnet20(), torch.randn(2, 3, 32, 32)
    gradients = sum(FLOAT * p.numel() for p in net.parameters())
    peak = peak_bytes(lambda: net(x).sum().backward())
    assert peak > activation_bytes(net, x) - FLOAT * x.numel()
    assert peak < activation_bytes(net, x) + 2 * gradients


def test_the_peak_on_the_meta_device_is_that_of_the_cpu():
    net, x = googlenet(10).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        on_cpu = peak_bytes(lambda: net(x))
        net, x = net.to("meta"), x.to("meta")
        assert peak_bytes(lambda: net(x)) == on_cpu


def test_views_and_operations_in_place_take_no_memory():
    x = torch.zeros(100)
    assert peak_bytes(lambda: x.view(10, 10).t().add_(1)) == 0


def test_without_cuda_its_allocator_is_not_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="there is no CUDA device here: use peak_bytes"):
        peak_cuda_bytes(lambda: None)


@pytest.mark.gpu
def test_cuda_has_handed_out_what_was_alive():
    size = 1 << 20
    assert peak_cuda_bytes(lambda: torch.zeros(size, device="cuda").exp()) == 2 * FLOAT * size
