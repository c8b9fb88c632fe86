"""torchvision's ResNets and their conversions compute the same; other networks are refused, with the layer named."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as Torchvision
from torchvision.ops import FrozenBatchNorm2d

import odenet
from odenet import (
    Autonomous,
    BasicBranch,
    BottleneckBranch,
    FixedSteps,
    Heun,
    Nonnegative,
    ODEBlock,
    PiecewiseLinear,
    StochasticDepth,
    coarsen_steps,
    coarsen_theta,
    configure,
    refine_steps,
    refine_theta,
)
from odenet.models import from_torchvision, resnet18, resnet20, resnet50, resnext50_32x4d, to_torchvision
from odenet.models.resnet import ResNet, Transition, imagenet_resnet
from tests.network_cases import share_random_weights

NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
"""Names of all ResNets of torchvision."""


def randomized(make: Callable[..., Torchvision], **options: Any) -> Torchvision:
    """Build a net with random weights and BatchNorm statistics, so that a tensor that is not copied is noticed."""
    torch.manual_seed(0)
    with torch.device("meta"):
        net = make(**options)
    share_random_weights(net, net)
    with torch.no_grad():
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats):
            norm.weight.uniform_(0.5, 1)
            norm.get_buffer("running_mean").normal_(std=0.1)
            norm.get_buffer("running_var").uniform_(0.5, 2)
            norm.num_batches_tracked = torch.tensor(3)
    return net


def basic(**options: Any) -> Torchvision:
    return randomized(Torchvision, block=BasicBlock, layers=[2, 1, 2, 1], num_classes=5, **options)


def bottleneck(**options: Any) -> Torchvision:
    return randomized(Torchvision, block=Bottleneck, layers=[1, 2, 1, 1], num_classes=5, **options)


def images(height: int = 40, width: int = 33) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def require_same_function(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Assert that outputs are equal bit for bit in both modes, finite, and different for different images."""
    with torch.no_grad():
        for training in (False, True):
            expected = theirs.train(training)(x)
            assert torch.equal(ours.train(training)(x), expected)
            assert expected.isfinite().all()
            assert not torch.equal(expected[0], expected[1])


def require_same_state(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


# There and back


@pytest.mark.parametrize("name", NAMES)
def test_every_resnet_of_torchvision_goes_there_and_back_to_the_last_bit(name: str) -> None:
    theirs = randomized(getattr(torchvision.models, name), num_classes=5)
    ours = from_torchvision(theirs)
    require_same_state(to_torchvision(ours), theirs.state_dict())
    require_same_function(ours, theirs, images())
    state = to_torchvision(ours)
    require_same_state(state, theirs.state_dict())  # training mode has changed the statistics of both
    theirs.load_state_dict(state, strict=True)


def test_those_are_all_that_torchvision_has() -> None:
    found = [
        name
        for name in torchvision.models.list_models(torchvision.models)
        if any(kind in name for kind in ("resnet", "resnext"))
    ]
    assert sorted(NAMES) == sorted(found)


@pytest.mark.parametrize(("name", "pieces"), [("resnet18", [2, 1, 1, 1]), ("resnet50", [2, 3, 5, 2])])
def test_blocks_with_an_identity_are_pieces_of_projected_euler_flows(name: str, pieces: list[int]) -> None:
    ours = from_torchvision(randomized(getattr(torchvision.models, name)))
    flows = [module for module in ours.modules() if type(module) is ODEBlock]
    assert [flow.theta.number_of_pieces for flow in flows] == pieces
    assert [flow.theta.horizon for flow in flows] == pieces
    assert all(flow.projection == Nonnegative() and flow.stepping == FixedSteps() for flow in flows)
    assert [flow.label for flow in flows] == [f"block 'stages.{stage}.flow'" for stage in range(4)]
    assert "stages.0.flow.theta.nodes.1.conv1.weight" in ours.state_dict()
    assert "stages.1.transition.shortcut.norm.running_mean" in ours.state_dict()
    assert sum(isinstance(module, Transition) for module in ours.modules()) == (3 if name == "resnet18" else 4)


def with_one_channel(model: Torchvision) -> Torchvision:
    torch.manual_seed(0)
    model.conv1 = nn.Conv2d(1, 64, 5, stride=3, bias=True)
    return model


def with_a_stem_for_small_images(model: Torchvision) -> Torchvision:
    torch.manual_seed(0)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return model


def with_a_deep_stem(model: Torchvision) -> Torchvision:
    torch.manual_seed(0)
    model.conv1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 64, 3))  # pyright: ignore[reportAttributeAccessIssue]
    return model


def with_head(head: nn.Module, model: Torchvision) -> Torchvision:
    torch.manual_seed(0)
    model.fc = head  # pyright: ignore[reportAttributeAccessIssue]
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: basic(zero_init_residual=True),
        lambda: bottleneck(norm_layer=partial(nn.GroupNorm, 16)),
        lambda: bottleneck(norm_layer=partial(nn.BatchNorm2d, eps=0.1, momentum=0.3)),
        lambda: basic(norm_layer=partial(nn.BatchNorm2d, track_running_stats=False)),
        lambda: basic(norm_layer=nn.Identity),
        lambda: bottleneck(replace_stride_with_dilation=[False, True, True]),
        lambda: bottleneck(groups=2, width_per_group=48),
        lambda: with_a_stem_for_small_images(basic()),
        lambda: with_a_deep_stem(basic()),
        lambda: with_head(nn.Sequential(nn.Linear(512, 7), nn.Tanh(), nn.Linear(7, 3)), basic()),
        lambda: with_head(nn.Identity(), basic()),
    ],
    ids=[
        "zero-init",
        "group-norm",
        "eps",
        "no-statistics",
        "no-norm",
        "dilation",
        "groups",
        "small-images",
        "deep-stem",
        "mlp-head",
        "no-head",
    ],
)
def test_options_and_exchanged_layers_come_along(make: Callable[[], Torchvision]) -> None:
    theirs = make()
    ours = from_torchvision(theirs)
    require_same_function(ours, theirs, images())
    require_same_state(to_torchvision(ours), theirs.state_dict())
    theirs.load_state_dict(to_torchvision(ours), strict=True)


def test_frozen_statistics_come_along() -> None:
    theirs = basic(norm_layer=FrozenBatchNorm2d)
    for name, buffer in theirs.named_buffers():
        buffer.uniform_(0.5, 1.5) if name.endswith("running_var") else None
    require_same_function(from_torchvision(theirs), theirs, images())


def test_other_channels_come_along() -> None:
    theirs = with_one_channel(basic())
    ours = from_torchvision(theirs)
    require_same_function(ours, theirs, images()[:, :1])
    with pytest.raises(ValueError, match=r"takes \(batch, 1, "):
        ours(images())


@pytest.mark.parametrize(
    ("make", "smallest"),
    [
        (basic, 17),
        (lambda: bottleneck(replace_stride_with_dilation=[False, True, True]), 5),
        (lambda: with_a_stem_for_small_images(basic()), 5),
    ],
)
def test_images_may_be_as_small_as_the_strides_allow(make: Callable[[], Torchvision], smallest: int) -> None:
    theirs = make()
    ours = from_torchvision(theirs)
    require_same_function(ours, theirs, images(smallest, smallest))
    with pytest.raises(ValueError, match=f"below {smallest}×{smallest}"):
        ours(images(smallest, smallest - 1))


def test_training_the_copy_is_training_the_original() -> None:
    theirs = bottleneck()
    ours = from_torchvision(theirs)
    for net in (ours, theirs):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net(images()).square().mean().backward()
        optimizer.step()
    found, expected = to_torchvision(ours), theirs.state_dict()
    torch.testing.assert_close(found, dict(expected), rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["conv1.weight"], bottleneck().conv1.weight)


def test_precision_modes_layout_and_what_does_not_learn_are_kept() -> None:
    theirs = basic().double().to(memory_format=torch.channels_last)
    theirs.train().bn1.eval()
    theirs.layer2.eval().requires_grad_(False)
    ours = from_torchvision(theirs)
    assert ours.training
    assert ours.stages.get_submodule("0.flow.theta.nodes.0").training
    assert not ours.stem.get_submodule("0.norm").training
    assert not ours.stages.get_submodule("1.transition.branch.norm1").training
    frozen = [name for name, parameter in ours.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(name.startswith("stages.1.") for name in frozen)
    weight = ours.get_parameter("stages.0.flow.theta.nodes.0.conv1.weight")
    assert weight.dtype == torch.float64
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not any(module.training for module in from_torchvision(basic().eval()).modules())


def test_the_copy_shares_no_memory_and_ties_what_was_tied() -> None:
    theirs = basic()
    first, second = theirs.layer1.children()
    assert isinstance(first, BasicBlock)
    assert isinstance(second, BasicBlock)
    second.conv1.weight = first.conv1.weight
    ours = from_torchvision(theirs)
    pointers = {tensor.data_ptr() for tensor in theirs.state_dict().values()}
    assert pointers.isdisjoint(tensor.data_ptr() for tensor in ours.state_dict().values())
    weights = [ours.get_parameter(f"stages.0.flow.theta.nodes.{i}.conv1.weight") for i in range(2)]
    assert weights[0] is weights[1]


def test_a_copy_is_made_without_drawing_random_numbers() -> None:
    theirs = basic()
    before = torch.get_rng_state()
    from_torchvision(theirs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [resnet18, resnet50, resnext50_32x4d])
def test_our_own_nets_of_the_family_go_to_torchvision(make: Callable[..., ResNet]) -> None:
    torch.manual_seed(0)
    ours = make(num_classes=5)
    theirs = getattr(torchvision.models, make.__name__)(num_classes=5)
    theirs.load_state_dict(to_torchvision(ours), strict=True)
    require_same_function(ours, theirs, images())


def test_the_front_door_hands_both_directions_on() -> None:
    assert odenet.from_torchvision is from_torchvision
    assert odenet.to_torchvision is to_torchvision


# State dicts alone


@pytest.mark.parametrize("make", [basic, bottleneck, lambda: bottleneck(groups=4, width_per_group=32)])
def test_a_state_dict_tells_its_architecture(make: Callable[[], Torchvision]) -> None:
    theirs = make()
    ours = from_torchvision(theirs.state_dict())
    require_same_function(ours, theirs, images())


def test_a_state_dict_tells_its_channels() -> None:
    one = with_one_channel(basic())
    one.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    require_same_function(from_torchvision(one.state_dict()), one, images()[:, :1])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"fc.weight": None}, r"the state dict lacks 'fc.weight'\. Only their forward pass"),
        ({"layer2.0.bn2.bias": None}, r'Missing key.*"layer2.0.bn2.bias"'),
        ({"layer2.0.gamma": torch.ones(1)}, r'Unexpected key.*"layer2.0.gamma"'),
        ({"layer1.0.bn2.bias": torch.ones(3)}, r"size mismatch for layer1.0.bn2.bias"),
    ],
)
def test_missing_and_foreign_keys_are_refused_by_name(change: dict[str, Tensor | None], complaint: str) -> None:
    state = {name: tensor for name, tensor in (basic().state_dict() | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=f"(?s)not a ResNet of torchvision: .*{complaint}"):
        from_torchvision(state)


def test_the_state_dict_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks 'conv1.weight', 'fc.weight', 'layer1.0.conv2.weight', .*2 more"):
        from_torchvision(torchvision.models.squeezenet1_1().state_dict())


# What cannot go there


class Subclass(Torchvision):
    """A subclass, which may have another forward pass."""


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (lambda: Subclass(BasicBlock, [1, 1, 1, 1]), "Subclass"),
        (lambda: resnet18(num_classes=2), "odenet.models.resnet.ResNet"),
        (lambda: "resnet18", "str"),
    ],
)
def test_what_is_no_resnet_of_torchvision_is_refused(make: Callable[[], Any], kind: str) -> None:
    with pytest.raises(TypeError, match=rf"{kind}; it converts torchvision.models.ResNet .*googlenet_from_torchvision"):
        from_torchvision(make())


def changed(**parts: Any) -> Torchvision:
    """Build a net on the meta device with `parts` in place of its modules; '__' in a name stands for a dot."""
    with torch.device("meta"):
        model = Torchvision(BasicBlock, [2, 1, 1, 1])
    for name, module in parts.items():
        parent, _, child = name.replace("__", ".").rpartition(".")
        setattr(model.get_submodule(parent), child, module)
    return model


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"layer4": nn.Identity()}, "'layer4' is a Identity without residual blocks"),
        ({"layer2": nn.Sequential(nn.Conv2d(64, 128, 1))}, "layer2.0 is a Conv2d, not a torchvision block"),
        ({"layer2": nn.Sequential(Bottleneck(64, 32))}, "layer2.0 is a Bottleneck, not a .* like the others"),
        ({"layer2__0__downsample": None}, "it lacks 'layer2.0.downsample.0', 'layer2.0.downsample.1'"),
        ({"layer1__0__relu": nn.SiLU()}, "it has the unexpected 'layer1.0.relu'"),
        ({"avgpool": nn.AdaptiveAvgPool2d(2)}, "it has the unexpected 'avgpool'"),
        ({"layer1__1__gamma": nn.Parameter(torch.ones(1))}, "it has the unexpected 'layer1.1.gamma'"),
        (
            {"layer1__0__downsample": nn.Sequential(nn.Conv2d(64, 64, 1))},
            "it has the unexpected 'layer1.0.downsample.0.weight'",
        ),
        ({"layer1__1__attention": nn.Softmax()}, "it has the unexpected 'layer1.1.attention'"),
    ],
)
def test_layers_that_are_missing_or_foreign_are_refused_by_name(parts: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"not a ResNet of torchvision: .*{complaint}.*build the network"):
        from_torchvision(changed(**parts))


# Refinement, and what cannot go back


def test_a_refined_net_goes_back_once_it_is_coarsened() -> None:
    ours = from_torchvision(basic())
    expected = to_torchvision(ours)
    deeper = refine_theta(refine_steps(ours))
    require_same_state(to_torchvision(coarsen_steps(coarsen_theta(deeper))), expected)


@pytest.mark.parametrize(
    ("make", "refined", "factor"),
    [
        (basic, partial(Torchvision, BasicBlock, [4, 1, 3, 1]), 2),
        (basic, partial(Torchvision, BasicBlock, [6, 1, 4, 1]), 3),
        (bottleneck, partial(Torchvision, Bottleneck, [1, 4, 1, 1]), 3),
        (
            partial(basic, norm_layer=partial(nn.GroupNorm, 4)),
            partial(Torchvision, BasicBlock, [4, 1, 3, 1], norm_layer=partial(nn.GroupNorm, 4)),
            2,
        ),
    ],
    ids=["basic", "basic in thirds", "bottleneck in thirds", "GroupNorm"],
)
def test_a_refined_net_goes_back_as_a_deeper_one_whose_last_norms_take_up_the_step(
    make: Callable[[], Torchvision], refined: Callable[..., Torchvision], factor: int
) -> None:
    deeper = refine_theta(refine_steps(from_torchvision(make()), factor), factor)
    theirs = refined(num_classes=5)
    theirs.load_state_dict(to_torchvision(deeper), strict=True)
    require_nearly_the_same_function(deeper, theirs, images(), exact=factor == 2)  # halves are exact in floating point


def require_nearly_the_same_function(ours: nn.Module, theirs: nn.Module, x: Tensor, *, exact: bool) -> None:
    """Assert that outputs are equal in both modes: bit for bit if `exact`, else up to rounding."""
    for training in (False, True):
        found, expected = ours.train(training)(x), theirs.train(training)(x)
        torch.testing.assert_close(found, expected, rtol=0 if exact else 1e-4, atol=0 if exact else 1e-4)
        assert found.isfinite().all()


def test_a_step_of_any_length_goes_back_and_one_of_1_leaves_the_tensors_as_they_are() -> None:
    ours = from_torchvision(basic())
    flow = flow_of(ours)
    before = to_torchvision(ours)
    assert (
        before["layer1.0.bn2.weight"].data_ptr()
        == ours.state_dict()["stages.0.flow.theta.nodes.0.norm2.weight"].data_ptr()
    )
    flow.theta.horizon = 3.0  # on two pieces
    after = to_torchvision(ours)
    scaled = {f"layer1.{block}.bn2.{name}" for block in (0, 1) for name in ("weight", "bias")}
    for name, tensor in after.items():
        assert torch.equal(tensor, (1.5 if name in scaled else 1) * before[name]), name
    theirs = Torchvision(BasicBlock, [2, 1, 2, 1], num_classes=5)
    theirs.load_state_dict(after, strict=True)
    require_nearly_the_same_function(ours, theirs, images(), exact=False)


def flow_of(net: ResNet) -> ODEBlock:
    flow = net.get_submodule("stages.0.flow")
    assert isinstance(flow, ODEBlock)
    return flow


def with_theta(kind: type) -> ResNet:
    net = on_meta()
    flow_of(net).theta = kind(flow_of(net).theta.nodes)
    return net


def with_projection(projection: Any) -> ResNet:
    net = on_meta()
    net.get_submodule("stages.1.transition").projection = projection
    return net


def with_noise() -> ResNet:
    net = on_meta()
    flow_of(net).noise = StochasticDepth(0.5, scaling="evaluation")
    return net


def on_meta(make: Callable[..., ResNet] = resnet18, **options: Any) -> ResNet:
    with torch.device("meta"):
        return make(**options)


def with_stepping(stepping: FixedSteps) -> ResNet:
    net = on_meta()
    configure(net, stepping=stepping)
    return net


def with_half_steps(last_norm: nn.Module) -> ResNet:
    net = on_meta()
    flow = flow_of(net)
    flow.theta.horizon = 1.0
    flow.theta.nodes[1].norm2 = last_norm
    return net


def with_branch(branch: nn.Module) -> ResNet:
    net = on_meta()
    flow_of(net).theta.nodes[1] = branch
    return net


def with_a_layer_in_a_stage() -> ResNet:
    net = on_meta()
    net.get_submodule("stages.2").add_module("dropout", nn.Dropout())
    return net


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: on_meta(activation="pre"), "finish is the end of a pre-activation net; .*activation='post'"),
        (lambda: on_meta(resnet20), "the stem is without pooling, not as .*use resnet18 or its relatives"),
        (lambda: on_meta(imagenet_resnet, blocks=[2, 2]), "the number of stages is 2, not as in the four-stage"),
        (with_a_layer_in_a_stage, "stages.2.dropout is a Dropout; .*use flows and transitions"),
        (lambda: on_meta(branch=BottleneckBranch), "stages.0.flow.theta.nodes.0 is 64 channels wide instead of 256"),
        (lambda: with_branch(BottleneckBranch(64, activation="post")), "nodes.1 is a BottleneckBranch; .*everywhere"),
        (lambda: with_branch(BasicBranch(64)), "nodes.1 is a pre-activation branch"),
        (
            lambda: on_meta(shortcut=None),
            "stages.1.transition is a transition with no shortcut; .*use projected_shortcut",
        ),
        (
            lambda: on_meta(shortcut=lambda *_: Autonomous(nn.Identity())),
            "stages.1.transition is a transition with the shortcut Autonomous",
        ),
        (lambda: with_theta(PiecewiseLinear), "flow with the θ PiecewiseLinear; .*carry it to PiecewiseConstant"),
        (lambda: with_stepping(FixedSteps(Heun())), r"a flow stepped by FixedSteps\(Heun\(\), per_piece=1\)"),
        (
            lambda: with_stepping(FixedSteps(per_piece=2)),
            r"stepped by FixedSteps\(Euler\(\), per_piece=2\); .* its own piece by refine_theta",
        ),
        (
            lambda: with_half_steps(nn.BatchNorm2d(64, affine=False)),
            "nodes.1.norm2 is a BatchNorm2d that cannot absorb a step of h = 0.5 .*affine BatchNorm2d.*coarsen_theta",
        ),
        (lambda: with_half_steps(nn.Identity()), "nodes.1.norm2 is a Identity that cannot absorb a step of h = 0.5"),
        (lambda: with_projection(None), "stages.1.transition is a module with the projection None; .*use Nonnegative"),
        (with_noise, r"stages.0.flow is a module with StochasticDepth.* scales branches in evaluation"),
    ],
)
def test_nets_that_are_none_of_torchvisions_are_refused(make: Callable[[], ResNet], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"to_torchvision was given a net in which .*{complaint}"):
        to_torchvision(make())


def test_what_is_no_resnet_is_refused() -> None:
    with pytest.raises(TypeError, match=r"to_torchvision was given a Linear; .*made by from_torchvision"):
        to_torchvision(nn.Linear(2, 2))  # pyright: ignore[reportArgumentType]
