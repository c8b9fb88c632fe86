"""Process under torchrun that takes training steps of a stage, with gradients averaged over all processes.

Rank 0 prints the seconds of every step as JSON. `benchmarks.scaling` starts the processes.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from odenet import BasicBranch, ODEBlock, PiecewiseConstant

WARM_UP = 3
"""Number of steps that are not measured."""


def work(steps: int) -> list[float]:
    """Measure the seconds of each of `steps` steps after the warm-up, on a batch of 32 in each process."""
    torch.set_num_threads(1)
    rank = int(os.environ["LOCAL_RANK"])
    on_gpus = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    distributed.init_process_group("nccl" if on_gpus else "gloo")
    device = torch.device("cuda", rank) if on_gpus else torch.device("cpu")
    torch.manual_seed(0)
    flow = ODEBlock(PiecewiseConstant([BasicBranch(16) for _ in range(8)])).to(device)
    model = DistributedDataParallel(flow, device_ids=[rank] if on_gpus else None)
    x = torch.randn(32, 16, 14, 14, device=device)
    seconds = []
    for _ in range(WARM_UP + steps):
        distributed.barrier()
        start = time.perf_counter()
        model(x).square().sum().backward()
        if on_gpus:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        model.zero_grad()
    distributed.destroy_process_group()
    return seconds[WARM_UP:]


if __name__ == "__main__":
    taken = work(int(sys.argv[1]))
    if os.environ["RANK"] == "0":
        print(json.dumps(taken))
