"""A training runs on the device and with the processes of its settings, or is refused with advice.

That two processes train as one does is tested in test_training_distributed.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from odenet import BasicBranch, Checkpointed, ODEBlock, PiecewiseConstant, StochasticDepth
from odenet.models import resnet20, set_stochastic_depth
from odenet.training import Training, launch
from odenet.training.devices import is_main_process, skips_branches

ROOT = Path(__file__).parents[1]


def test_a_number_of_processes_that_torchrun_did_not_start_is_refused_with_the_command() -> None:
    with pytest.raises(ValueError, match=r"processes=2 was asked for, but 1 started.*torchrun --nproc-per-node 2"):
        launch(Training(processes=2, device="cpu"))
    assert launch(Training(processes=1, device="cpu")).world_size == 1


def test_an_absent_device_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device='cuda' was asked for.*sees no such device.*'auto' or 'cpu'"):
        launch(Training(device="cuda"))


def test_the_workspace_of_deterministic_products_is_set_before_the_first_one() -> None:
    name = "CUBLAS_WORKSPACE_CONFIG"
    script = f"""import os, importlib, odenet.training
print(os.environ[{name!r}])
os.environ[{name!r}] = ":16:8"
importlib.reload(odenet.training.devices)
print(os.environ[{name!r}])"""
    environment = {k: v for k, v in os.environ.items() if k != name}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.split() == [":4096:8", ":16:8"], ran.stderr


def test_threads_are_those_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        launch(Training(device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_main_process_is_the_only_one_or_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_main_process()
    monkeypatch.setenv("RANK", "0")
    assert is_main_process()
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()


def test_a_net_skips_branches_where_its_stochastic_depth_is_by_batch():
    branches = PiecewiseConstant([BasicBranch(2)])
    assert not skips_branches(nn.Sequential(ODEBlock(branches, gradient=Checkpointed())))
    assert not skips_branches(ODEBlock(branches, noise=StochasticDepth(0.5, per="sample")))
    assert skips_branches(nn.Sequential(ODEBlock(branches, noise=StochasticDepth(0.5))))
    net = resnet20()
    set_stochastic_depth(net)
    assert skips_branches(net)
