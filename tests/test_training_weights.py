"""Weights files are read as they were written, and refused if they do not fit the network."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from odenet.training import CannotWrite, WeightsError, load_weights, save_weights
from tests.training_cases import noisy_net


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_weights(noisy_net(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_weights_come_back_as_they_were(path: Path) -> None:
    net = noisy_net(seed=1)
    load_weights(net, path)
    expected = noisy_net().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in net.state_dict().items())


def test_any_layout_in_memory_and_shared_parameters_are_written(tmp_path: Path) -> None:
    net = noisy_net().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    tied = nn.ModuleDict({"a": net, "b": net})
    save_weights(tied, tmp_path / "tied")
    other = nn.ModuleDict({"a": noisy_net(1), "b": noisy_net(2)})
    load_weights(other, tmp_path / "tied")
    assert all(map(torch.equal, other["a"].parameters(), net.parameters()))
    assert all(map(torch.equal, other["b"].parameters(), net.parameters()))


@pytest.mark.parametrize("content", [b"", b"\x05", b"not weights at all", None])
def test_a_truncated_or_foreign_file_is_refused_by_name(content: bytes | None, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors cannot be read .* truncated .* give another file"):
        load_weights(noisy_net(), path)


def test_weights_of_another_program_which_have_no_checksum_are_read(path: Path) -> None:
    path.write_bytes(safetensors.torch.save(noisy_net().state_dict()))
    net = noisy_net(seed=1)
    load_weights(net, path)
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in noisy_net().state_dict().items())


def test_infinite_numbers_of_both_signs_are_no_nan_and_each_nan_is_named(path: Path) -> None:
    net = noisy_net()
    with torch.no_grad():
        net.get_parameter("5.bias")[:2] = torch.tensor([math.inf, -math.inf])
    save_weights(net, path)
    load_weights(noisy_net(), path)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.flatten()[-1] = math.nan
    save_weights(net, path)
    before = noisy_net().state_dict()
    other = noisy_net()
    with pytest.raises(WeightsError, match=r"safetensors has NaN in '\d\.\w+', '\d\.\w+', .*, 2 more: the training"):
        load_weights(other, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_an_absent_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        load_weights(noisy_net(), tmp_path / "absent")


def test_missing_and_foreign_names_are_told_with_the_nearest(path: Path) -> None:
    other = nn.Sequential(*list(noisy_net())[:-1], nn.Sequential(nn.Linear(64, 3)))  # type: ignore[call-overload]
    with pytest.raises(WeightsError) as error:
        load_weights(other, path)
    assert "does not fit Sequential" in str(error.value)
    assert "it lacks '5.0.weight', '5.0.bias'" in str(error.value)
    assert "foreign '5.bias' (nearest: '5.0.bias'), '5.weight' (nearest: '5.0.weight')" in str(error.value)


def test_other_shapes_are_told_with_both(path: Path) -> None:
    net = noisy_net()
    net[5] = nn.Linear(64, 4)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=r"differs in '5.weight', \(3, 64\) instead of \(4, 64\)"):
        load_weights(net, path)


def test_weights_that_do_not_fit_change_nothing(path: Path) -> None:
    net = noisy_net(seed=1)
    net[5] = nn.Linear(64, 4)  # type: ignore[operator]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(WeightsError):
        load_weights(net, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_of_many_names_the_first_are_shown(tmp_path: Path) -> None:
    save_weights(nn.ModuleList([nn.Linear(1, 1) for _ in range(50)]), tmp_path / "deep")
    with pytest.raises(WeightsError, match=r"foreign '0\.bias'.*, 96 more\. Build the network"):
        load_weights(nn.ModuleList(), tmp_path / "deep")


def test_a_path_that_cannot_be_written_is_told(path: Path) -> None:
    with pytest.raises(CannotWrite, match=r"the weights file .*below.* cannot be written"):
        save_weights(noisy_net(), path / "below")
