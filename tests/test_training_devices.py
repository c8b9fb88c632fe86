"""Where a training runs; two processes that share every batch train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from odenet.training import Training, launch, load_weights
from odenet.training.devices import is_main_process
from tests.training_cases import plain_net, train

ROOT = Path(__file__).parents[1]


def test_two_processes_give_the_weights_of_one_to_rounding_and_only_one_of_them_writes(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.training_cases", str(tmp_path / "two"), "--net", "plain"]
    (tmp_path / "two").mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*torchrun, *program], cwd=ROOT, capture_output=True, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr.decode()
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "history.json",
        "rank0",
        "rank1",
        "training",
        "weights.safetensors",
    ]
    assert [path.name for path in (tmp_path / "two" / "training").iterdir()] == ["checkpoint.pt"]

    one, two = plain_net(), plain_net(seed=9)
    history = train(one, tmp_path / "one")
    load_weights(two, tmp_path / "two" / "weights.safetensors")
    for name, weights in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], weights, atol=1e-6, rtol=1e-5)
    for row, expected in zip(json.loads((tmp_path / "two" / "history.json").read_text()), history.rows, strict=True):
        assert row | {"seconds": 0} == pytest.approx(expected | {"seconds": 0}, abs=1e-5)


def test_a_number_of_processes_that_torchrun_did_not_start_is_refused_with_the_command() -> None:
    with pytest.raises(ValueError, match=r"processes=2 was asked for, but 1 started.*torchrun --nproc-per-node 2"):
        launch(Training(processes=2, device="cpu"))
    assert launch(Training(processes=1, device="cpu")).world_size == 1


def test_an_absent_device_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device='cuda' was asked for.*sees no such device.*'auto' or 'cpu'"):
        launch(Training(device="cuda"))


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
