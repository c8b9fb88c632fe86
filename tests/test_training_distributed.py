"""Two processes that share every batch train a net as one process does, whatever its gradient method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from odenet.training.weights import load_weights
from tests import distributed_cases as cases

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="this build of torch has no gloo")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the results of two processes for every network."""
    folder = tmp_path_factory.mktemp("shared")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.distributed_cases", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*torchrun, *program], cwd=ROOT, capture_output=True, env=environment)
    assert ended.returncode == 0, ended.stderr.decode()
    return folder


def in_two(name: str, folder: Path) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Return the network that two processes trained, and the notes of each."""
    net = cases.CASES[name]()
    load_weights(net, folder / f"{name}.safetensors")
    return net, [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Return the largest difference in any parameter."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", [*cases.EXACT, *cases.SKIPPING])
def test_two_processes_train_as_one_to_rounding_and_each_gradient_arrives_once_a_step(name, shared, tmp_path):
    two, noted = in_two(name, shared)
    one, rows, arrivals = cases.run(name, tmp_path)
    assert largest_difference(one, cases.CASES[name]()) > 1e-2
    assert largest_difference(one, two) < 1e-6
    assert [process["arrivals"] for process in noted] == [dict(arrivals)] * 2
    if name in cases.EXACT:
        assert set(arrivals.values()) == {5}
    for process in noted:
        for row, expected in zip(process["rows"], rows, strict=True):
            assert row | {"seconds": 0} == pytest.approx(expected | {"seconds": 0}, abs=1e-5)


def test_skipped_branches_are_the_same_whatever_the_gradient_method_and_some_batches_skip_each(shared):
    counts = [in_two(name, shared)[1][0]["arrivals"] for name in cases.SKIPPING]
    assert all(count == counts[0] for count in counts)
    assert 0 < min(counts[0].values()) < max(counts[0].values()) == 5


def test_error_control_of_a_share_moves_the_result_by_no_more_than_its_tolerance(shared, tmp_path):
    two, noted = in_two("adaptive", shared)
    one, _, arrivals = cases.run("adaptive", tmp_path)
    assert 1e-6 < largest_difference(one, two) < 10 * cases.TOLERANCE
    assert [process["arrivals"] for process in noted] == [dict(arrivals)] * 2


def test_batch_norm_in_two_processes_is_another_net_than_in_one(shared, tmp_path):
    two, noted = in_two("batch norm", shared)
    one, _, _ = cases.run("batch norm", tmp_path)
    assert largest_difference(one, two) > 1e-4
    first, second = (process["rows"] for process in noted)
    assert [row["test_loss"] for row in first] == [row["test_loss"] for row in second]


def test_processes_draw_numbers_of_their_own_unless_branches_are_skipped(shared):
    assert torch.equal(*(torch.load(shared / f"skipping, backprop-{rank}.pt") for rank in (0, 1)))
    assert not torch.equal(*(torch.load(shared / f"backprop-{rank}.pt") for rank in (0, 1)))


def test_one_of_the_processes_writes_one_checkpoint(shared):
    assert [path.name for path in (shared / "backprop").iterdir()] == ["checkpoint.pt"]
