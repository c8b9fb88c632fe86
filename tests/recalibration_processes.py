"""Recalibration by several processes, each with batches of its own; a program for torchrun.

python -m tests.recalibration_processes FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from odenet import RK4, BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant, recalibrate

STEPPINGS = {"euler": FixedSteps(), "rk4": FixedSteps(RK4())}


def net(name: str) -> nn.Module:
    """A normalization, then a flow."""
    torch.manual_seed(0)
    flow = ODEBlock(PiecewiseConstant([BasicBranch(2).double() for _ in range(2)]), STEPPINGS[name])
    return nn.Sequential(nn.BatchNorm2d(2).double(), flow).eval()


def batches(numbers: range) -> list[Tensor]:
    """Batches that differ in mean and scale."""
    draws = (torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in numbers)
    return [(k + 1) * x + k for k, x in zip(numbers, draws, strict=True)]


SHARES = (range(3), range(3, 5))
"""Batches of each process, of which the first has more."""


def main() -> None:
    """Leave the state of each process in the folder, and the error of each where the second process has no batches."""
    distributed.init_process_group("gloo")
    rank, folder = distributed.get_rank(), Path(sys.argv[1])
    for name in STEPPINGS:
        model = net(name)
        recalibrate(model, batches(SHARES[rank]))
        torch.save(model.state_dict(), folder / f"{name}-{rank}.pt")
        before = {key: value.clone() for key, value in model.state_dict().items()}
        try:
            recalibrate(model, [] if rank else batches(SHARES[0]))
        except ValueError as error:
            unchanged = all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
            (folder / f"{name}-{rank}.txt").write_text(f"{unchanged} {error}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
