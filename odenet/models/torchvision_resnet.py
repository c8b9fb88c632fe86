"""Conversion between torchvision's ResNets and networks of flows and transitions with the same outputs.

torchvision's residual block is x ← relu(x + F(x)), a *projected* Euler step of h = 1. So the blocks of a stage whose
shortcut is the identity form one flow, an `ODEBlock` with the projection `relu`; the first block of a stage is a
transition if it has a `downsample`. Whole layers are copied, with their groups, dilation, any normalization, weights,
running statistics, device, precision, training mode and `requires_grad`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.branches import BasicBranch, BottleneckBranch
from odenet.blocks.extras import Extra
from odenet.blocks.projections import is_relu
from odenet.blocks.solvers.runge_kutta import Euler
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import PiecewiseConstant
from odenet.models.resnet import ResNet, Transition, imagenet_resnet

if TYPE_CHECKING:
    from torchvision.models import ResNet as TorchvisionResNet

_LAYERS = ("layer1", "layer2", "layer3", "layer4")


@checked
def from_torchvision(model: TorchvisionResNet | Mapping[str, Tensor]) -> ResNet:
    """Convert torchvision's ResNet `model` to flows and transitions with the same outputs in evaluation and training.

    All ResNets of torchvision can be converted: resnet18 to resnet152, ResNeXt and wide ones, with any numbers of
    blocks, classes and channels, any `norm_layer` and `replace_stride_with_dilation`, and with the stem convolution,
    the pooling or the head replaced. Nothing is shared with `model`. Forward hooks on its blocks are not copied.

    >>> from torchvision.models import resnet18
    >>> theirs = resnet18(num_classes=10).eval()
    >>> ours, x = from_torchvision(theirs), torch.randn(2, 3, 32, 32)
    >>> torch.equal(ours(x), theirs(x))
    True

    Args:
        model: the ResNet, or its state dict. A state dict does not contain strides, dilation and the kind of
            normalization; these are assumed to be torchvision's defaults.

    Raises:
        TypeError: if `model` is not a ResNet of torchvision.
        ValueError: if layers or keys are missing or unexpected; the message names them.
    """
    if isinstance(model, Mapping):
        model = _model_of(model)
    _require_torchvision(model)
    blocks = [len(list(model.get_submodule(layer).children())) for layer in _LAYERS]
    basic = type(model.layer1[0]).__name__ == "BasicBlock"
    with torch.device("meta"):
        net = imagenet_resnet(blocks) if basic else imagenet_resnet(blocks, expansion=4, branch=BottleneckBranch)
    net.train(model.training)
    net.in_channels, net.smallest = _in_channels(model.conv1), _stride(model) // 2 + 1
    places = dict(_places(net))
    _require_same_layers(model, list(places.values()))
    copies: dict[int, Any] = {}  # one memo for all layers, so that a weight shared by two of them stays shared
    for ours, theirs in places.items():
        net.set_submodule(ours, copy.deepcopy(model.get_submodule(theirs), copies))
    return net


@checked
def to_torchvision(net: Annotated[ResNet, Inside()]) -> dict[str, Tensor]:
    """Return the state dict of the torchvision ResNet that computes what `net` does; it loads with `strict=True`.

    This inverts `from_torchvision`, also after training, and works for `odenet.models.resnet18` and its relatives. If a
    flow has another number of pieces than usual, for example after a refinement, torchvision's net must be built as
    `torchvision.models.ResNet(BasicBlock or Bottleneck, [blocks of each stage])`.

    The tensors are those of `net`, as in its own state dict, except in flows with steps h ≠ 1: there the last
    normalization of F gets the scale h·γ and the shift h·β. The function is the same, in training mode too, but its
    training is not, because torchvision's net learns h·γ and h·β in place of γ and β.

    Raises:
        TypeError: if `net` is not a `ResNet`.
        ValueError: if torchvision has no such net: if it has other widths, is a pre-activation net, has another kind of
            θ, or other steps than one Euler step on each piece. The message names the place and what to do.
    """
    if not isinstance(net, ResNet):
        raise TypeError(
            f"to_torchvision was given a {type(net).__name__}; it converts networks of torchvision's ResNet family: "
            "pass one made by from_torchvision, or by odenet.models.resnet18 and its relatives."
        )
    _require_family(net)
    _require_branches(net)
    for name, module in net.named_modules():
        if isinstance(module, Transition):
            _require_transition(module, name)
        elif isinstance(module, ODEBlock):
            _require_flow(module, name)
    for name, h in _steps_not_one(net):
        _require_affine(net.get_submodule(name), name, h)
    steps = dict(_steps_not_one(net))
    return {
        f"{theirs}.{name}": steps[ours] * tensor if ours in steps and name in ("weight", "bias") else tensor
        for ours, theirs in _places(net)
        for name, tensor in net.get_submodule(ours).state_dict().items()
    }


def _places(net: ResNet) -> Iterator[tuple[str, str]]:
    """Yield the name of each layer here and in torchvision, in torchvision's order."""
    yield from (("stem.0.conv", "conv1"), ("stem.0.norm", "bn1"), ("stem.1", "maxpool"))
    for stage, layer in enumerate(_LAYERS):
        for index, branch in enumerate(_branches(net, f"stages.{stage}")):
            for number in range(1, 4 if hasattr(net.get_submodule(branch), "conv3") else 3):
                yield f"{branch}.conv{number}", f"{layer}.{index}.conv{number}"
                yield f"{branch}.norm{number}", f"{layer}.{index}.bn{number}"
            if branch.endswith(".transition.branch"):
                shortcut = branch.removesuffix("branch") + "shortcut"
                yield f"{shortcut}.conv", f"{layer}.{index}.downsample.0"
                yield f"{shortcut}.norm", f"{layer}.{index}.downsample.1"
    yield "head", "fc"


def _branches(net: ResNet, stage: str) -> Iterator[str]:
    """Yield the names of the branches of a stage in order."""
    for name, module in net.get_submodule(stage).named_children():
        if isinstance(module, ODEBlock):
            yield from (f"{stage}.{name}.theta.nodes.{index}" for index in range(len(module.theta.nodes)))
        else:
            yield f"{stage}.{name}.branch"


def _steps_not_one(net: ResNet) -> Iterator[tuple[str, float]]:
    """Yield the name of the last norm of each branch with a step h ≠ 1, and h, which its γ and β must absorb."""
    for name, block in net.named_modules():
        if isinstance(block, ODEBlock) and (h := _step_of(block)) != 1:
            for index, branch in enumerate(block.theta.nodes):
                yield f"{name}.theta.nodes.{index}.norm{2 if isinstance(branch, BasicBranch) else 3}", h


def _step_of(block: ODEBlock) -> float:
    return block.theta.horizon / block.theta.number_of_pieces


def _require_torchvision(model: Any) -> None:
    """Raise unless `model` and its blocks have torchvision's own classes; a subclass may have another forward pass."""
    with Extra("data"):
        from torchvision.models import resnet as torchvision
    if type(model) is not torchvision.ResNet:
        raise TypeError(
            f"from_torchvision was given a {type(model).__module__}.{type(model).__name__}; it converts "
            "torchvision.models.ResNet (resnet18 to resnet152, ResNeXt, wide), itself or its state dict: pass one, or "
            "use odenet.models.googlenet_from_torchvision for a GoogLeNet."
        )
    kinds = set()
    for layer in _LAYERS:
        blocks = dict(model.get_submodule(layer).named_children())
        if not blocks:
            raise _misfit(f"{layer!r} is a {type(model.get_submodule(layer)).__name__} without residual blocks")
        for name, block in blocks.items():
            kinds.add(type(block))
            if type(block) not in (torchvision.BasicBlock, torchvision.Bottleneck) or len(kinds) > 1:
                raise _misfit(f"{layer}.{name} is a {type(block).__name__}, not a torchvision block like the others")


def _require_same_layers(model: nn.Module, places: list[str]) -> None:
    """Raise unless `model` has a layer at each of `places`, and otherwise only ReLUs and the mean over pixels."""
    modules = dict(model.named_modules())
    missing = [place for place in places if place not in modules]
    leaves = [name for name, module in modules.items() if not list(module.children())]
    foreign = [
        name
        for name in dict.fromkeys([*model.state_dict(), *leaves])
        if not any(f"{name}.".startswith(f"{place}.") for place in places) and not _is_usual(name, modules.get(name))
    ]
    faults = {"it lacks": missing, "it has the unexpected": foreign}
    if missing or foreign:
        raise _misfit("; ".join(f"{what} {_listed(names)}" for what, names in faults.items() if names))


def _is_usual(name: str, module: nn.Module | None) -> bool:
    """Whether this is one of torchvision's layers without weights, which are functions in the converted net."""
    if name == "avgpool":
        return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
    return name.split(".")[-1] == "relu" and type(module) is nn.ReLU


def _listed(names: list[str], shown: int = 4) -> str:
    rest = [f"{len(names) - shown} more"] if len(names) > shown else []
    return ", ".join([*map(repr, names[:shown]), *rest])


def _misfit(found: str) -> ValueError:
    return ValueError(
        f"from_torchvision was given a network that is not a ResNet of torchvision: {found}. Only their forward pass "
        "can be converted: give it their layers, or build the network from ODEBlock and Transition."
    )


def _in_channels(stem: nn.Module) -> int:
    """Return the number of input channels of the first convolution in `stem`, which may be a user's own module."""
    return next(module.in_channels for module in stem.modules() if isinstance(module, nn.Conv2d))


def _stride(model: TorchvisionResNet) -> int:
    """Return the product of all strides, from the image to the last feature map."""
    branches = [
        m for layer in _LAYERS for block in model.get_submodule(layer).children() for m in block.named_children()
    ]
    layers = [model.conv1, model.maxpool, *(module for name, module in branches if name.startswith("conv"))]
    strides = [module.stride for layer in layers for module in layer.modules() if hasattr(module, "stride")]
    return math.prod(stride if isinstance(stride, int) else max(stride) for stride in strides)


def _model_of(state: Mapping[str, Tensor]) -> TorchvisionResNet:
    """Build the torchvision ResNet with the weights `state`, whose shapes determine the architecture."""
    with Extra("data"):
        from torchvision.models import resnet as torchvision
    needed = ("conv1.weight", "fc.weight", *(f"{layer}.0.conv2.weight" for layer in _LAYERS))
    if missing := [name for name in needed if name not in state]:
        raise _misfit(f"the state dict lacks {_listed(missing)}")
    blocks = [len({name.split(".")[1] for name in state if name.startswith(f"{layer}.")}) for layer in _LAYERS]
    options: dict[str, Any] = {}
    if bottleneck := "layer1.0.conv3.weight" in state:
        width, width_per_group = state["layer1.0.conv2.weight"].shape[:2]
        options = {"groups": width // width_per_group, "width_per_group": width_per_group}
    with torch.device("meta"):
        kind = torchvision.Bottleneck if bottleneck else torchvision.BasicBlock
        model = torchvision.ResNet(kind, blocks, len(state["fc.weight"]), **options)
        model.conv1 = nn.Conv2d(state["conv1.weight"].shape[1], 64, 7, 2, padding=3, bias=False)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:  # torch's message names the keys that do not fit
        raise _misfit(f"loading its state dict fails: {error}") from error
    return model


def _require_family(net: ResNet) -> None:
    """Raise unless stem, finish and stages are as in torchvision's ResNets."""
    stem = {"0.conv", "0.norm", "1"} - {name for name, _ in net.stem.named_modules()}
    if not isinstance(net.finish, nn.Identity):
        raise _unlike("finish", "the end of a pre-activation net", "build it with activation='post'")
    if stem or len(net.stages) != len(_LAYERS):
        where, found = ("the stem", "without pooling") if stem else ("the number of stages", f"{len(net.stages)}")
        raise _unlike(where, f"{found}, not as in the four-stage ImageNet family", "use resnet18 or its relatives")
    for stage in range(len(_LAYERS)):
        for name, module in net.get_submodule(f"stages.{stage}").named_children():
            if not isinstance(module, ODEBlock | Transition):
                raise _unlike(f"stages.{stage}.{name}", f"a {type(module).__name__}", "use flows and transitions")


def _require_branches(net: ResNet) -> None:
    """Raise unless all branches are of one class, post-activation, and as wide as torchvision's."""
    names = [(stage, name) for stage in range(len(_LAYERS)) for name in _branches(net, f"stages.{stage}")]
    kind = type(net.get_submodule(names[0][1]))
    for stage, name in names:
        branch = net.get_submodule(name)
        if type(branch) is not kind or not isinstance(branch, BasicBranch | BottleneckBranch):
            raise _unlike(name, f"a {type(branch).__name__}", "use BasicBranch, or BottleneckBranch, everywhere")
        if branch.activation != "post":
            raise _unlike(name, "a pre-activation branch", "build the net with activation='post'")
        width = 64 * 2**stage * (1 if kind is BasicBranch else 4)
        last = branch.conv2 if isinstance(branch, BasicBranch) else branch.conv3
        if last.out_channels != width:
            raise _unlike(name, f"{last.out_channels} channels wide instead of {width}", "use torchvision's widths")


def _require_transition(transition: Transition, name: str) -> None:
    shortcut = transition.shortcut
    if shortcut is None or [part for part, _ in shortcut.named_children()] != ["conv", "norm"]:
        kind = "no shortcut" if shortcut is None else f"the shortcut {type(shortcut).__name__}"
        raise _unlike(name, f"a transition with {kind}", "use projected_shortcut")
    _require_projection(transition, name)


def _require_flow(block: ODEBlock, name: str) -> None:
    if type(block.theta) is not PiecewiseConstant:
        raise _unlike(name, f"a flow with the θ {type(block.theta).__name__}", "carry it to PiecewiseConstant")
    if block.stepping != FixedSteps(Euler()):
        raise _unlike(
            name,
            f"a flow stepped by {block.stepping}",
            "set stepping=FixedSteps(Euler()), or give each of several Euler steps its own piece by refine_theta",
        )
    _require_projection(block, name)


def _require_affine(norm: nn.Module, name: str, h: float) -> None:
    """Raise unless `norm` ends with γ·x + β, so that a step size can be multiplied into γ and β."""
    with Extra("data"):
        from torchvision.ops import FrozenBatchNorm2d
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d, nn.GroupNorm, FrozenBatchNorm2d)
    if not isinstance(norm, kinds) or not {"weight", "bias"} <= norm.state_dict().keys():
        raise _unlike(
            name,
            f"a {type(norm).__name__} that cannot absorb a step of h = {h:g} in its scale and shift",
            "end the branch with an affine BatchNorm2d, InstanceNorm2d or GroupNorm, or undo a refinement by "
            "coarsen_theta and coarsen_steps",
        )


def _require_projection(module: ODEBlock | Transition, name: str) -> None:
    if not is_relu(module.projection):
        raise _unlike(name, f"a module with the projection {module.projection}", "use Nonnegative()")
    if module.noise is not None and module.noise.scaling == "evaluation":
        raise _unlike(
            name, f"a module with {module.noise}, which scales branches in evaluation", "train with scaling='training'"
        )


def _unlike(where: str, found: str, instead: str) -> ValueError:
    return ValueError(
        f"to_torchvision was given a net in which {where} is {found}; torchvision's residual block is "
        f"x ← relu(x + F(x)) in the widths of its ResNets: {instead}."
    )
