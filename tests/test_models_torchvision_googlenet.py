"""torchvision's GoogLeNet and its conversion compute the same; weights that do not fit are refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import GoogLeNet as TorchvisionGoogLeNet

from odenet.models import GoogLeNet, googlenet, googlenet_bn, googlenet_from_torchvision
from odenet.models.torchvision_googlenet import load_torchvision


def random_net(*, aux_logits: bool = True, transform_input: bool = False) -> TorchvisionGoogLeNet:
    """Build torchvision's net with seven classes, random weights and random statistics of BatchNorm."""
    torch.manual_seed(0)
    net = TorchvisionGoogLeNet(7, aux_logits, transform_input, init_weights=False)
    for name, value in net.state_dict().items():
        if ".bn." in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return net


def outputs(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the logits of all classifiers from the lowest up, with the same dropout each time."""
    torch.manual_seed(0)
    output = net(x)
    if isinstance(output, Tensor):
        return [output]
    if isinstance(net, GoogLeNet):
        return [output.auxiliary_4a, output.auxiliary_4d, output.logits]
    return [output.aux_logits1, output.aux_logits2, output.logits]


def statistics(net: nn.Module) -> list[Tensor]:
    """Return the statistics of BatchNorm, in the order of the layers."""
    return [value for name, value in net.named_buffers() if not name.startswith("transform.")]


@pytest.mark.parametrize("aux_logits", [True, False])
@pytest.mark.parametrize("transform_input", [True, False])
def test_outputs_are_equal_in_evaluation_and_in_training(aux_logits, transform_input):
    theirs = random_net(aux_logits=aux_logits, transform_input=transform_input)
    ours, x = googlenet_from_torchvision(theirs), torch.randn(2, 3, 47, 64)
    for training, number in ((False, 1), (True, 3 if aux_logits else 1)):
        pairs = list(zip(outputs(ours.train(training), x), outputs(theirs.train(training), x), strict=True))
        assert len(pairs) == number
        assert all(torch.equal(a, b) and a.std() > 0 for a, b in pairs)
    assert all(torch.equal(a, b) for a, b in zip(statistics(ours), statistics(theirs), strict=True))


def test_what_is_frozen_there_is_frozen_here():
    theirs = random_net().train()
    theirs.inception3a.eval().requires_grad_(False)
    theirs.dropout.eval()
    ours = googlenet_from_torchvision(theirs)
    still = [name for name, module in ours.named_modules() if not module.training and not list(module.children())]
    frozen = {name.rpartition(".")[0] for name, p in ours.named_parameters() if not p.requires_grad}
    assert len(frozen) == 2 * 6  # six convolutions and their norms
    assert all("3a" in name for name in frozen)
    assert {name for name in still if name != "dropout"} == frozen
    assert "dropout" in still


def test_gradients_are_equal_too():
    theirs = random_net()
    ours, x = googlenet_from_torchvision(theirs), torch.randn(2, 3, 32, 32)
    stems = (ours.get_parameter("stem.conv1.conv.weight"), theirs.get_parameter("conv1.conv.weight"))
    for net in (ours, theirs):
        torch.cat(outputs(net.train(), x)).square().sum().backward()
    torch.testing.assert_close(*(stem.grad for stem in stems))


def test_the_copy_shares_no_memory_and_takes_over_mode_and_precision():
    theirs = random_net().double().eval()
    ours = googlenet_from_torchvision(theirs)
    assert not ours.training
    assert ours.head.weight.dtype == torch.float64
    before = ours.head.weight.clone()
    theirs.fc.weight.data.zero_()
    assert torch.equal(ours.head.weight, before)


def test_the_copy_drops_units_as_often():
    theirs = TorchvisionGoogLeNet(7, init_weights=False, dropout=0.15, dropout_aux=0.65)
    ours = googlenet_from_torchvision(theirs)
    assert ours.dropout.p == 0.15
    assert [module.p for module in ours.auxiliaries.modules() if isinstance(module, nn.Dropout)] == [0.65, 0.65]


def test_weights_of_auxiliary_classifiers_are_left_out_of_a_net_without():
    theirs = random_net().eval()
    ours, x = googlenet_bn(7, auxiliary=None).eval(), torch.randn(1, 3, 32, 32)
    load_torchvision(ours, theirs.state_dict())
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("net", "complaint"),
    [
        (lambda: googlenet_bn(10), r"auxiliaries.4a.head.bias is \(7,\) there and \(10,\) here"),
        (
            lambda: googlenet_bn(7, in_channels=1),
            r"stem.conv1.conv.weight is \(64, 3, 7, 7\) there and \(64, 1, 7, 7\)",
        ),
        (
            lambda: googlenet(7),
            r"is missing there and \(128,\) here, and \d+ more differ: build the net by googlenet_bn",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(net, complaint):
    with torch.device("meta"):
        theirs, ours = TorchvisionGoogLeNet(7, init_weights=False), net()
        with pytest.raises(ValueError, match=complaint):
            load_torchvision(ours, theirs.state_dict())


def test_weights_without_auxiliary_classifiers_are_refused_by_a_net_with_them():
    with torch.device("meta"):
        theirs, ours = TorchvisionGoogLeNet(7, aux_logits=False, init_weights=False), googlenet_bn(7)
        with pytest.raises(ValueError, match=r"missing there .* auxiliary=None if the weights have no auxiliary"):
            load_torchvision(ours, theirs.state_dict())
