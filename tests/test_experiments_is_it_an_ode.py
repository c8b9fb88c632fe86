"""Tests of the report on a network: its answers for nets that are ODEs or not, and the files that it reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as Torchvision

from experiments.support.network_files import read
from experiments.support.ode_questions import EIGENVALUES, QUESTIONS
from experiments.support.ode_report import table, verdict
from odenet import ODEBlock, PiecewiseConstant, refine_steps, refine_theta
from odenet.models import ResNet, cifar_resnet, from_torchvision
from odenet.training import Record, save_model

SMALL = partial(cifar_resnet, 2, 10, 1, widths=(4,), activation="pre")


def net() -> ResNet:
    torch.manual_seed(0)
    return SMALL().eval()


def fine() -> ResNet:
    """Return the net with the same θ on four times the layers with a quarter of the step: closer to the flow."""
    return refine_theta(refine_steps(net(), 4), 4)


def images() -> Tensor:
    return torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def answers(model: ResNet) -> dict[str, dict]:
    labels = torch.zeros(4, dtype=torch.long)
    results = {f"seed0/net/{name}": ask(model, images(), labels) for name, ask in QUESTIONS.items()}
    results["seed0/net/answers"] = {}  # as of a checkpoint that is no ResNet
    return results | {"seed0/net/verdict": verdict(results, "seed0/net")}


@pytest.fixture(scope="module")
def coarse() -> dict[str, dict]:
    """Return the answers for a net of two layers."""
    return answers(net())


@pytest.fixture(scope="module")
def refined() -> dict[str, dict]:
    """Return the answers for the same net refined to eight layers."""
    return answers(fine())


def test_the_coarse_net_is_none_and_the_refined_one_more_of_one(coarse, refined):
    assert coarse["seed0/net/verdict"]["answer"] == "no"
    assert "are unrelated" in coarse["seed0/net/verdict"]["words"]
    distances = [found["seed0/net/solvers"]["distance"]["rk4×8"] for found in (coarse, refined)]
    assert distances[1] < distances[0] / 2
    assert refined["seed0/net/verdict"]["roughness"] < 0.3
    for lesion in ("dropped", "swapped"):
        before, after = (max(found["seed0/net/lesions"][lesion][0]) for found in (coarse, refined))
        assert after < before / 2


def test_the_order_of_euler_is_one_and_accuracies_are_shares(refined):
    assert refined["seed0/net/order"]["order"] == pytest.approx(1, abs=0.1)
    assert all(0 <= share <= 1 for share in refined["seed0/net/solvers"]["accuracy"].values())
    assert refined["seed0/net/solvers"]["distance"]["euler×1"] == 0


def test_there_is_an_answer_for_every_layer_and_every_pair(coarse, refined):
    for found, layers in ((coarse, 2), (refined, 8)):
        assert [len(block) for block in found["seed0/net/smoothness"]["theta"]] == [layers - 1]
        assert [len(block) for block in found["seed0/net/smoothness"]["state"]] == [layers - 1]
        assert [len(block) for block in found["seed0/net/lesions"]["dropped"]] == [layers]
        assert [len(block) for block in found["seed0/net/lesions"]["swapped"]] == [layers - 1]
        assert len(found["seed0/net/spectrum"]["eigenvalues"]) == layers * EIGENVALUES


def test_asking_leaves_the_net_as_it_was():
    model = net()
    before, y = repr(model), model(images())
    answers(model)
    assert repr(model) == before
    assert torch.equal(model(images()), y)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_table_has_a_row_for_each_net_and_the_verdict_last(coarse, refined):
    other = {key.replace("/net/", "/fine/"): result for key, result in refined.items()}
    rows = table(Record("is_it_an_ode", "", {}, results=coarse | other))
    assert [row["net"] for row in rows] == ["net", "fine"]
    assert [list(row)[-1] for row in rows] == ["an ODE?"] * 2
    assert rows[0]["an ODE?"] == "no"


def test_a_verdict_is_by_final_states_with_recalibrated_statistics_where_these_were_measured(coarse):
    known = {"seed0/net/answers": {"recalibrated": {"own": {"distance": 0.01}}}}
    found = verdict(coarse | known, "seed0/net")
    assert (found["answer"], found["distance"]) == ("yes", 0.01)


def test_a_net_without_neighbours_is_answered_too():
    torch.manual_seed(0)
    single = cifar_resnet(1, 10, 1, widths=(4,), activation="pre").eval()
    assert isinstance(block := single.get_submodule("stages.0.flow"), ODEBlock)
    assert isinstance(block.theta, PiecewiseConstant)
    assert answers(single)["seed0/net/verdict"]["roughness"] == 0


# Files


def test_a_saved_model_is_read(tmp_path: Path):
    model = fine()
    save_model(model, tmp_path / "net.safetensors", SMALL)
    assert torch.equal(read(tmp_path / "net.safetensors")(images()), model(images()))


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_weights_of_torchvision_are_read(tmp_path: Path, name: str):
    torch.manual_seed(0)
    theirs = Torchvision(BasicBlock, [1, 1, 1, 1], num_classes=3).eval()
    save = torch.save if name.endswith("pth") else save_file
    save(theirs.state_dict(), tmp_path / name)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(read(tmp_path / name).eval()(x), from_torchvision(theirs)(x))


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_another_file_is_refused_with_both_reasons(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"As a file of save_model: .*truncated.* As weights of torchvision: "):
        read(tmp_path / name)


def test_weights_of_another_network_are_refused_with_both_reasons(tmp_path: Path):
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"describes no network.* lacks 'conv1\.weight'"):
        read(tmp_path / "w.safetensors")
