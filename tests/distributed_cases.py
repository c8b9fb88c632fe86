"""Trainings whose outcome is to be that of one process when several share every batch; a program for torchrun.

python -m tests.distributed_cases FOLDER [NAME …]
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    Backprop,
    BasicBranch,
    Checkpointed,
    ContinuousAdjoint,
    Coupled,
    Euler,
    FixedSteps,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    StochasticDepth,
    group_norm,
)
from odenet.blocks.branches import Norm
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.training import is_main_process, launch, save_weights, seed_everything
from tests.training_cases import SETTINGS, train

TRAINING = replace(SETTINGS, epochs=1, lr=0.1, gradient_clip=1.0, checkpoint_seconds=60.0)
"""Five steps, and a look at the test images."""


class Net(nn.Module):
    """Convolution → flow → mean over pixels → logits of three classes."""

    def __init__(self, flow: ODEBlock) -> None:
        super().__init__()
        self.stem, self.flow, self.head = nn.Conv2d(1, 4, 3, padding=1), flow, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, height, width) → (batch, 3)."""
        return self.head(self.flow(self.stem(x)).mean(dim=(2, 3)))


def net(
    gradient: GradientMethod, stepping: Stepping | None = None, survival: float = 1.0, norm: Norm = group_norm
) -> Net:
    """A net whose flow has four pieces, the first two of one branch."""
    seed_everything(0)
    first, *others = (BasicBranch(4, norm=norm) for _ in range(3))
    noise = None if survival == 1 else StochasticDepth(survival)
    theta = PiecewiseConstant([first, first, *others], horizon=1.0)
    return Net(ODEBlock(theta, stepping or FixedSteps(per_piece=2), gradient, noise=noise))


TOLERANCE = 1e-3

EXACT: dict[str, Callable[[], Net]] = {
    "backprop": partial(net, Backprop()),
    "checkpointed": partial(net, Checkpointed()),
    "reversible": partial(net, Reversible(), FixedSteps(Coupled(Euler()))),
    "adjoint": partial(net, ContinuousAdjoint(), FixedSteps(RK4())),
    "per sample, backprop": partial(net, Backprop(), Adaptive("bosh3", TOLERANCE, TOLERANCE, per_sample=True)),
    "per sample, reversible": partial(net, Reversible(), Adaptive("bosh3", TOLERANCE, TOLERANCE, per_sample=True)),
}
SKIPPING: dict[str, Callable[[], Net]] = {
    "skipping, backprop": partial(net, Backprop(), survival=0.5),
    "skipping, checkpointed": partial(net, Checkpointed(), survival=0.5),
    "skipping, reversible": partial(net, Reversible(), survival=0.5),
    "skipping, adjoint": partial(net, ContinuousAdjoint(), FixedSteps(RK4()), survival=0.5),
}
ADAPTIVE: dict[str, Callable[[], Net]] = {
    "adaptive": partial(net, Checkpointed(), Adaptive("dopri5", rtol=TOLERANCE, atol=TOLERANCE)),
}
SHARES: dict[str, Callable[[], Net]] = {"batch norm": partial(net, Backprop(), norm=nn.BatchNorm2d)}
CASES = EXACT | SKIPPING | ADAPTIVE | SHARES


def arrivals(model: nn.Module) -> Counter[str]:
    """How often the gradient of each parameter arrives, counted from now on."""
    count = Counter[str]()
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: count.update([name]))
    return count


def run(name: str, folder: Path) -> tuple[Net, list[dict[str, float]], Counter[str]]:
    """The trained net, the rows of its history, and the arrivals of gradients in this process.

    The state of torch's generator at the last forward pass stays in a file; after a training it is that from before.
    """
    model = CASES[name]()
    count = arrivals(model)
    file = folder / f"{name}-{launch(TRAINING).global_rank}.pt"
    model.register_forward_pre_hook(lambda *_: torch.save(torch.get_rng_state(), file))
    history = train(model, folder / name, TRAINING)
    return model, history.rows, count


def main() -> None:
    """Train every net, and leave its weights, history, counts and state of the generator in the folder."""
    folder, rank = Path(sys.argv[1]), launch(TRAINING).global_rank
    for name in sys.argv[2:] or CASES:
        model, rows, count = run(name, folder)
        (folder / f"{name}-{rank}.json").write_text(json.dumps({"rows": rows, "arrivals": count}))
        if is_main_process():
            save_weights(model, folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
