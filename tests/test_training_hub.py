"""A network is saved and restored through Hugging Face's mixin, with all that its blocks were set to."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from odenet import RK4, FixedSteps, configure, refine_steps, refine_theta
from odenet.models import resnet20
from odenet.training.saved_models import construction_of, load_model, save_model

MAKE = partial(resnet20, num_classes=3, in_channels=1)


def test_the_construction_of_a_file_is_the_one_that_it_was_written_with(tmp_path):
    torch.manual_seed(0)
    save_model(MAKE(), tmp_path / "net", MAKE)
    again = construction_of(tmp_path / "net")
    torch.manual_seed(0)
    built = again().state_dict()
    assert all(torch.equal(value, built[name]) for name, value in load_model(tmp_path / "net").state_dict().items())


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "odenet.training.hub", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"huggingface_hub is needed.*pip install 'odenet\[hub\]'"):
        import odenet.training.hub  # noqa: F401


def test_a_network_is_restored_from_a_folder_with_its_solver_and_its_layers(tmp_path: Path):
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub: pip install 'odenet[hub]'")
    from odenet.training.hub import HubModel

    net = refine_theta(refine_steps(MAKE())).eval()
    configure(net, stepping=FixedSteps(RK4()))
    HubModel(net, MAKE).save_pretrained(tmp_path)
    again: Any = HubModel.from_pretrained(str(tmp_path))
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(again(x), net(x))
    assert again.network.stages[0].flow.stepping == FixedSteps(RK4())
    again.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
