"""Saved models are rebuilt from the file alone, to the last bit, or refused when they are saved."""

from __future__ import annotations

import base64
import copy
import json
import math
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as Torchvision

from odenet import (
    RK4,
    Adaptive,
    BasicBranch,
    BottleneckBranch,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    FixedSteps,
    Galerkin,
    Heun,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Spline,
    StochasticDepth,
    Theta,
    configure,
    group_norm,
    project_theta,
    refine_steps,
    refine_theta,
)
from odenet.models import (
    ResNet,
    cifar_resnet,
    from_torchvision,
    googlenet_bn,
    imagenet_resnet,
    ode_net,
    plain20,
    resnet20,
    rk_net,
    set_stochastic_depth,
    vgg16,
)
from odenet.models.resnet import projected_shortcut
from odenet.models.torchvision_googlenet import imagenet_to_symmetric
from odenet.training import CannotWrite, WeightsError, load_model, load_weights, save_model
from odenet.training.json_settings import setting_to_json
from odenet.training.tensor_files import read_tensors, tensors_to_bytes
from tests.laws import Spy

SMALL = partial(cifar_resnet, 2, widths=(4, 8), num_classes=3)


def small(**options: Any) -> ResNet:
    torch.manual_seed(0)
    net = cifar_resnet(2, widths=(4, 8), num_classes=3, **options)
    net(images())  # so that the statistics differ from those of a new network
    return net.eval()


def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.safetensors"


def there_and_back(model: nn.Module, path: Path, construction: Callable[..., nn.Module], **options: Any) -> nn.Module:
    """Return the model that is read, after checking that its state dict is equal to the last bit."""
    save_model(model, path, construction, **options)
    again = load_model(path, **options)
    ours, theirs = again.state_dict(), model.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert repr(again) == repr(model)
    return again


THETAS: list[Callable[[list[nn.Module]], Theta]] = [
    partial(PiecewiseConstant, horizon=0.3),
    PiecewiseLinear,
    partial(Spline, degree=2, horizon=1 / 3),
    partial(Galerkin, basis="fourier"),
    lambda nodes: Constant(nodes[0], horizon=0.7),
]


@pytest.mark.parametrize("kind", THETAS, ids=["constant pieces", "linear", "spline", "galerkin", "constant"])
@pytest.mark.parametrize(
    "stepping", [FixedSteps(Heun(), 3), Adaptive("bosh3", rtol=1e-4, atol=1e-5)], ids=["fixed", "adaptive"]
)
def test_a_block_comes_back_from_the_file_alone(path: Path, stepping: Any, kind: Callable[..., Theta]) -> None:
    torch.manual_seed(0)
    theta = kind([MLPBranch(2, hidden=5) for _ in range(4)])
    block = ODEBlock(theta, stepping, ContinuousAdjoint())
    again = there_and_back(block, path, partial(MLPBranch, 2, hidden=5))
    assert isinstance(again, ODEBlock)
    assert type(again.theta) is type(theta)
    assert (again.theta.horizon, again.stepping) == (theta.horizon, stepping)
    x = torch.randn(3, 2)
    assert torch.equal(again(x), block(x))


def test_a_stepping_of_each_sample_comes_back(path: Path) -> None:
    stepping = Adaptive("tsit5", rtol=1 / 3, atol=1e-7, max_evaluations=500, per_sample=True)
    block = ODEBlock(Constant(MLPBranch(2, hidden=5)), stepping, Checkpointed())
    again = there_and_back(block, path, partial(MLPBranch, 2, hidden=5))
    assert isinstance(again, ODEBlock)
    assert again.stepping == stepping
    x = torch.randn(3, 2)
    assert torch.equal(again(x), block(x))


def test_projection_and_noise_of_a_block_come_back(path: Path) -> None:
    nodes = [BasicBranch(4, activation="post") for _ in range(3)]
    noise = StochasticDepth([1.0, 0.8, 0.6], per="sample")
    block = ODEBlock(PiecewiseConstant(nodes), projection=torch.relu, noise=noise)
    again = there_and_back(block, path, partial(BasicBranch, 4, activation="post"))
    assert isinstance(again, ODEBlock)
    assert again.projection is torch.relu
    assert repr(again.noise) == repr(noise)


def spline_thetas(net: ResNet) -> ResNet:
    for block in (module for module in net.modules() if isinstance(module, ODEBlock)):
        block.theta = project_theta(block.theta, partial(Spline, degree=0), 1)
    return net


def stochastic(net: ResNet) -> ResNet:
    set_stochastic_depth(net, 0.5, scaling="evaluation")
    return net


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net,
        lambda net: refine_theta(refine_steps(net, 3), 3),
        lambda net: spline_thetas(refine_theta(refine_steps(net))),
        stochastic,
    ],
    ids=["as constructed", "refined", "splines", "stochastic depth"],
)
def test_a_changed_network_comes_back_with_the_same_outputs(path: Path, change: Callable[[ResNet], ResNet]) -> None:
    net = change(small())
    configure(net, stepping=FixedSteps(RK4(), 2))
    again = there_and_back(net, path, SMALL)
    assert torch.equal(again(images()), net(images()))
    labels = [[module.label for module in each.modules() if isinstance(module, ODEBlock)] for each in (again, net)]
    assert labels[0] == labels[1]
    torch.manual_seed(1)
    trained = net.train()(images())
    torch.manual_seed(1)
    assert torch.equal(again.train()(images()), trained)


@pytest.mark.parametrize(
    "construction",
    [
        plain20,
        partial(resnet20, num_classes=3, norm=group_norm, shortcut=projected_shortcut, activation="pre"),
        partial(imagenet_resnet, [1, 2, 1, 1], 3, expansion=4, branch=partial(BottleneckBranch, groups=4)),
        partial(ode_net, 3, channels=8),
        partial(rk_net, steps=2),
        partial(googlenet_bn, 3, auxiliary=None),
    ],
    ids=lambda construction: getattr(construction, "func", construction).__name__,
)
def test_networks_of_every_family_come_back(path: Path, construction: Callable[..., nn.Module]) -> None:
    there_and_back(construction(), path, construction)


def test_a_converted_network_comes_back(path: Path) -> None:
    theirs = Torchvision(BasicBlock, [2, 1, 1, 1], num_classes=3).eval()
    again = there_and_back(from_torchvision(theirs), path, partial(imagenet_resnet, [2, 1, 1, 1], num_classes=3))
    x = torch.randn(2, 3, 33, 33)
    assert torch.equal(again(x), theirs(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_mode_and_precision_come_back(path: Path, dtype: torch.dtype, training: bool) -> None:
    again = there_and_back(small().to(dtype).train(training), path, SMALL)
    assert {parameter.dtype for parameter in again.parameters()} == {dtype}
    assert {module.training for module in again.modules()} == {training}
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_random_numbers_go_on_as_if_nothing_had_been_built(path: Path) -> None:
    net = small()
    before = torch.get_rng_state()
    there_and_back(net, path, SMALL)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_model_is_left_as_it_is(path: Path) -> None:
    net = small()
    before = copy.deepcopy(net)
    again = there_and_back(net, path, SMALL)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    path.unlink()
    assert torch.equal(net(images()), before(images()))


def test_its_weights_are_read_by_load_weights_too(path: Path) -> None:
    net = small()
    save_model(net, path, SMALL)
    torch.manual_seed(1)
    other = SMALL().eval()
    load_weights(other, path)
    assert torch.equal(other(images()), net(images()))
    assert load(path.read_bytes()).keys() == net.state_dict().keys()


def symmetric() -> nn.Module:
    return googlenet_bn(3, auxiliary=None, transform=imagenet_to_symmetric())


def test_buffers_that_are_in_no_state_dict_come_back_too(path: Path) -> None:
    net = symmetric().eval()
    again = there_and_back(net, path, symmetric, names={"symmetric": symmetric})
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(again(x), net(x))


def test_branches_of_the_users_own_come_back_where_their_names_are_given(path: Path) -> None:
    block = ODEBlock(PiecewiseConstant([Spy(MLPBranch(2)) for _ in range(2)]))
    names = {"spy": spy}
    again = there_and_back(block, path, spy, names=names)
    assert torch.equal(again(torch.ones(1, 2)), block(torch.ones(1, 2)))
    with pytest.raises(ValueError, match="unknown name 'spy'"):
        load_model(path)
    with pytest.raises(ValueError, match=r"has no name by which it could be found again"):
        save_model(block, path, spy)


def spy() -> nn.Module:
    return Spy(MLPBranch(2))


OF_FORMAT_2 = (
    "c-ozkzmC&D5XLF!X?Or@o8-"
    "{STCW{PiAX?q=o${`#1#~A6s>p1@p8`E^6uSnM3(4I;u&}YL_tBtpGZjbJPaiT>o`PkBp|Ydt(n>R&8KhY>&+X>Ge?uj3=9*@u*n4V=O`DTz)W"
    "<?XeUH{6w+>o)3C=`hm)S@`rU*G5r{ZpaY#H6H1=2!ir6QdauLMB7rhQmVj;K?KoI_kOk@TY*hDs+<mHSRn<>otl8xrksuH2TL$MQ~b11dURUJ"
    "o&xSmTQROflFv?<THSr-dd8p*Quqod>fk|~~I$HPu4tq?Wv_L??RGO47R)-"
    "ARj>Rg=V{8ZN&JAU<3R+3(eFsZfa_bJB`I9x~#2elBUj2)Gi@_DWX#PzS8)o^W~C|1KGbSR&JII$_+e*7?K?_sBaa#GaX0bO-WOC}^J({vo9z)"
    "y=@Dg&aeVLG!Fy}nzN`BV7Cj}o%8rlNAIvq_$qoTp41$sa&r()P$2iXGy1JLBd2K})k)kwFVPnzPJ`9kk$_WoN7gx9q5@S|c0JstQ%OvB+K8<`"
    "UPwrv1i}>3Xe%xh(3}KlG`6Y`a}`H1ft6Emtp35)H=Q91$Fhx3DfiPE+$28m52p0_@SvK>GjUJc_+=8|~lnHW5Qi$#tT)t9g`Q8f>HOWFHN%Pd"
    "5{H@Xx2%54X{F^3M-(VEwC{=DhuWdx0+Bynhvb9)6==KD|ipF7995y7&6d{_x35_;5788WxLpAAbOd@|gA"
)
"""File of format 2, whose settings are Python expressions: compressed, in base 85."""


def test_a_file_of_format_2_is_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(zlib.decompress(base64.b85decode(OF_FORMAT_2)))
    about = json.loads(read_tensors(path).about["odenet"])
    assert (about["format"], about["construction"]) == (2, "partial(MLPBranch, 1, hidden=1)")
    block = load_model(path)
    assert isinstance(block, ODEBlock)
    assert isinstance(block.theta, PiecewiseConstant)
    assert (block.theta.horizon, block.stepping, block.projection) == (1 / 3, FixedSteps(RK4(), 2), torch.relu)
    assert repr(block.gradient) == "Checkpointed(segments=2)"
    assert repr(block.noise) == "StochasticDepth([1.0, 0.75], per='sample', scaling='evaluation')"
    assert block.training
    x = torch.tensor([[1.0], [-2.0]])
    assert torch.allclose(block.eval()(x), torch.tensor([[1.0237], [0.0274]]), atol=1e-4)
    again = there_and_back(block, path, partial(MLPBranch, 1, hidden=1))
    assert torch.equal(again(x), block(x))


# Bad input


def with_a_shared_weight() -> ODEBlock:
    first, second = MLPBranch(2), MLPBranch(2)
    for layer, other in zip(first.modules(), second.modules(), strict=True):
        if isinstance(layer, nn.Linear):
            layer.weight = other.get_parameter("weight")
    return ODEBlock(PiecewiseConstant([first, second]))


@pytest.mark.parametrize(
    ("make", "construction", "found"),
    [
        (small, partial(cifar_resnet, 2, widths=(4, 8)), r"head.weight\[0\]: asked for 3, found 10"),
        (small, partial(cifar_resnet, 1, widths=(4, 8), num_classes=3), r"the blocks \['stages.0.flow'\] and not"),
        (small, partial(vgg16, 3), r"the blocks \[\] and not \['stages.0.flow', 'stages.1.flow'\]"),
        (
            lambda: ODEBlock(PiecewiseConstant([BasicBranch(4, activation="post")])),
            partial(BasicBranch, 4),
            r"theta.nodes.0.activation: asked for \"'post'\", found \"'pre'\"",
        ),
        (
            lambda: from_torchvision(
                Torchvision(BasicBlock, [1, 1, 1, 1], 3, norm_layer=partial(nn.BatchNorm2d, eps=0.1))
            ),
            partial(imagenet_resnet, [1, 1, 1, 1], 3),
            r"stem.0.norm.eps: asked for '0.1', found '1e-05'",
        ),
        (
            lambda: ODEBlock(PiecewiseConstant([MLPBranch(2)] * 2)),
            partial(MLPBranch, 2),
            "theta.nodes.1: asked for nothing, found 'MLPBranch'",
        ),
        (with_a_shared_weight, partial(MLPBranch, 2), "parameters of their own where modules share them"),
    ],
)
def test_a_construction_that_makes_another_network_is_refused_when_it_is_saved(
    path: Path, make: Callable[[], nn.Module], construction: Callable[..., nn.Module], found: str
) -> None:
    with pytest.raises(
        ValueError, match=f"makes another network than the one to save: .*(?:{found}).*all its arguments"
    ):
        save_model(make(), path, construction)
    assert not path.exists()


def test_a_setting_without_a_name_is_refused(path: Path) -> None:
    block = ODEBlock(PiecewiseConstant([MLPBranch(2)]), projection=lambda x: x)
    with pytest.raises(ValueError, match="has no name by which it could be found again"):
        save_model(block, path, partial(MLPBranch, 2))


def test_a_file_of_a_newer_format_is_refused(path: Path) -> None:
    save_model(small(), path, SMALL)
    description = {"format": 4, "version": "9.9", "anything": "else"}
    path.write_bytes(save(load(path.read_bytes()), metadata={"odenet": json.dumps(description)}))
    with pytest.raises(
        WeightsError, match=r"has format 4, of odenet 9\.9, and this version, .* up to 3: update odenet"
    ):
        load_model(path)


def test_a_file_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no saved model .*model.safetensors; give the path"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 64])
def test_a_file_of_another_program_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read .*not written by save_model; give another file"):
        load_model(path)


def test_the_same_model_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    written = []
    for number in range(5):  # the order of texts in a safetensors file would agree by chance once in four
        save_model(small(), tmp_path / str(number), SMALL)
        written.append((tmp_path / str(number)).read_bytes())
    assert len(set(written)) == 1


def rewritten(path: Path, description: Any = None, **tensors: Tensor) -> None:
    """Replace the description or the tensors of the saved model, with a correct checksum."""
    save_model(small(), path, SMALL)
    read = read_tensors(path)
    text = read.about["odenet"] if description is None else json.dumps(description)
    path.write_bytes(tensors_to_bytes(read.tensors | tensors, {"odenet": text}))


def test_a_saved_model_of_format_1_which_had_no_checksum_is_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(zlib.decompress(base64.b85decode(OF_FORMAT_2)))
    read = read_tensors(path)
    about = json.loads(read.about["odenet"]) | {"format": 1}
    path.write_bytes(save(read.tensors, metadata={"odenet": json.dumps(about)}))
    assert repr(load_model(path)).startswith("ODEBlock")


def changed(path: Path, **entries: Any) -> None:
    """Replace entries in the description of the saved model."""
    rewritten(path)
    rewritten(path, described(path) | entries)


def described(path: Path) -> dict[str, Any]:
    return json.loads(read_tensors(path).about["odenet"])


def call(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"call": name, "args": list(args), "kwargs": kwargs}


BLOCK = "stages.0.flow"


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"construction": 5}, "'int' object is not callable"),
        ({"construction": "resnet20"}, "'str' object is not callable"),
        ({"construction": {"resnet20": {}}}, "describes no setting"),
        ({"construction": {"name": ["resnet20"]}}, "describes no setting"),
        (
            {"construction": call("partial", {"name": "cifar_resnet"}, 2, width=3)},
            "unexpected keyword argument 'width'",
        ),
        ({"construction": call("__import__", "os")}, "unknown name '__import__'"),
        ({"construction": {"name": "Linear"}}, "TypeError"),
        ({"construction": {"tuple": [[]] * 3}}, "'tuple' object is not callable"),
        ({"format": 2, "construction": 5}, "TypeError: "),
        ({"format": 2, "construction": "5"}, "'int' object is not callable"),
        ({"format": 2, "construction": "resnet20("}, "describes no setting"),
        ({"format": 2, "construction": "(" * 3000 + ")" * 3000}, ""),
        ({"format": 2, "construction": "partial(cifar_resnet, 2, width=3)"}, "unexpected keyword argument 'width'"),
        ({"format": 2, "construction": "__import__('os').system"}, "describes no setting|unknown name"),
        ({"format": 2, "construction": "Linear"}, "TypeError"),
        ({"blocks": []}, "AttributeError"),
        ({"blocks": {BLOCK: {}}}, "KeyError: 'nodes'"),
        ({"noises": {"nowhere": "None"}}, "nowhere"),
        ({"noises": 3}, "AttributeError"),
    ],
)
def test_a_description_that_makes_no_network_is_refused_with_the_reason(
    entries: dict[str, Any], reason: str, path: Path
) -> None:
    changed(path, **entries)
    with pytest.raises(WeightsError, match=rf"cannot be read \(the network cannot be built: .*({reason})"):
        load_model(path)


def test_a_network_larger_than_the_file_is_refused_before_memory_is_asked_for(path: Path) -> None:
    changed(path, construction=setting_to_json(partial(SMALL, num_classes=10000000000000)))
    with pytest.raises(WeightsError, match=r"does not fit ResNet: it differs in 'head\.weight'"):
        load_model(path)


def test_a_network_of_more_layers_than_the_file_could_hold_is_refused_before_they_are_made(path: Path) -> None:
    changed(path, construction=setting_to_json(partial(cifar_resnet, 1000000000, 3, 1)))
    with pytest.raises(WeightsError, match=r"would have more than \d+ modules and weights, and the file has far fewer"):
        load_model(path)
    assert small(), "networks are built as before"


@pytest.mark.parametrize("mode", ["yes", 1, None])
def test_a_mode_that_is_neither_true_nor_false_is_refused(mode: Any, path: Path) -> None:
    changed(path, training=mode)
    with pytest.raises(WeightsError, match=f"training in its description must be true or false, got {mode!r}"):
        load_model(path)


@pytest.mark.parametrize("nodes", [100_000_000, 3, 1, 0, -1, "2", None])
def test_another_number_of_nodes_than_there_are_weights_of_is_refused(nodes: Any, path: Path) -> None:
    rewritten(path)
    blocks = described(path)["blocks"]
    changed(path, blocks=blocks | {BLOCK: blocks[BLOCK] | {"nodes": nodes}})
    with pytest.raises(WeightsError, match=f"flow has {nodes} nodes and weights of 2"):
        load_model(path)


def test_a_folder_is_no_saved_model_and_holds_no_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be read \(it is a folder\)"):
        load_model(tmp_path)
    with pytest.raises(WeightsError, match=r"cannot be read \(it is a folder\)"):
        load_weights(small(), tmp_path)


def test_a_saved_model_that_has_lost_its_checksum_is_refused(path: Path) -> None:
    save_model(small(), path, SMALL)
    path.write_bytes(save(load(path.read_bytes()), metadata={"odenet": json.dumps(described(path))}))
    with pytest.raises(WeightsError, match=r"cannot be read \(it has lost its checksum"):
        load_model(path)


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ({"format": 1}, "its description lacks blocks, construction, noises, training"),
        ({}, "its description has no format"),
        ([1], "its description has no format"),
        ({"format": "1"}, "its description has no format"),
    ],
)
def test_a_description_that_lacks_something_is_refused(description: Any, reason: str, path: Path) -> None:
    rewritten(path, description)
    with pytest.raises(WeightsError, match=f"cannot be read .{reason}"):
        load_model(path)


COUNTER = next(name for name in SMALL().state_dict() if name.endswith("num_batches_tracked"))
WRONG: list[tuple[dict[str, Tensor], str]] = [
    ({"head.bias": torch.tensor([0.0, math.nan, 0.0])}, "has NaN in 'head.bias': the training that wrote it had div"),
    ({"head.bias": torch.zeros(3, dtype=torch.int64)}, "differs in 'head.bias', torch.int64 instead of torch.float32"),
    ({"head.bias": torch.zeros(3, dtype=torch.bool)}, "differs in 'head.bias', torch.bool instead of torch.float32"),
    ({"head.bias": torch.zeros(3, dtype=torch.complex64)}, "'head.bias', torch.complex64 instead of torch.float32"),
    ({COUNTER: torch.tensor(1.0)}, f"'{COUNTER}', torch.float32 instead of torch.int64"),
]


@pytest.mark.parametrize(("tensors", "reason"), WRONG)
@pytest.mark.parametrize("reading", [load_model, lambda path: load_weights(small(), path)], ids=["model", "weights"])
def test_weights_that_are_no_numbers_or_of_another_kind_are_refused_by_name(
    reading: Callable[[Path], Any], tensors: dict[str, Tensor], reason: str, path: Path
) -> None:
    rewritten(path, **tensors)
    assert tensors.keys() <= small().state_dict().keys()
    with pytest.raises(WeightsError, match=rf"model\.safetensors .*{reason}"):
        reading(path)


def test_a_truncated_file_is_refused(path: Path) -> None:
    save_model(small(), path, SMALL)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"cannot be read .*truncated"):
        load_model(path)


def test_weights_alone_are_no_saved_model(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(save({"w": torch.ones(1)}))
    with pytest.raises(WeightsError, match="it describes no network; load_weights reads its weights into a network"):
        load_model(path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match=r"the saved model .* cannot be written"):
        save_model(small(), tmp_path / "file" / "model.safetensors", SMALL)
