"""Does one learning rate serve every depth?

A flow of L layers with h = 1/L is trained with every rule for its learning rate (`odenet.training.depth_rules`) and
every learning rate on a grid of factors of 2, for L = 1, 2, 4, 8, 16:

- none: SGD with momentum, one learning rate for all parameters;
- 1/h: the same, with the learning rate of the flow's parameters multiplied by 1/h = L (CompleteP for SGD, as there is
  no weight decay here);
- 1/sqrt(L): SGD on the horizon √L, h = 1/√L (Depth-μP: Yang et al. 2023, Bordelon et al. 2023), without factors;
- completep: AdamW with the factors of CompleteP (Dey et al. 2025).

Either all parameters are trained, or the flow alone between a stem and a head as they were drawn. The net of `smoke`
and `cpu` is a residual MLP without normalization: a normalization makes the branch independent of the scale of its
weights, so that high learning rates only lower the effective one, and the best one is not defined sharply. The best
learning rate is that of the smallest mean loss on the training images after the last epoch, as in the papers; no test
image has a part in it.

    python -m experiments.learning_rates cpu --jobs 2   # digits: 6 minutes of one core
    python -m experiments.learning_rates gpu            # GroupNorm ResNets on Fashion-MNIST: 110 s a seed (estimated)

Expected (claims, stated before the run): with 1/h and with completep the best learning rate is the same for all L,
within one point of the grid, and the curves of loss over learning rate approach one another as L grows; with none it
rises with L if the flow alone is trained, because SGD moves x(T) by lr·h·T; if all parameters are trained, the stem and
the head limit the learning rate, so that the best one moves less, but the flow then learns less the deeper it is.
Seen: trained whole, the net has the same best rate at all depths with and without 1/h, and a lower loss with it; the
flow alone has the same one from L = 2 on, while a single layer takes a rate two to three points higher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Annotated, Any, NamedTuple

import torch

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.flow_nets import Net, flow_net
from experiments.support.parts import PartedRun
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import spread
from experiments.support.training import train
from odenet import NonFiniteState, ODEBlock
from odenet.data import ImageData
from odenet.training import Classification, Record, Run, Training, evaluate
from odenet.training.checked import Different, OneOf, Within
from odenet.training.settings import DepthRule, OptimizerName
from odenet.training.state import NonFiniteLoss


class Rule(NamedTuple):
    """A rule of the experiment: optimizer, depth rule, and the horizon as a power of the number of pieces."""

    optimizer: OptimizerName
    depth_rule: DepthRule
    power: float = 0.0


RULES: Mapping[str, Rule] = {
    "none": Rule("nesterov", "none"),
    "1/h": Rule("nesterov", "1/h"),
    "1/sqrt(L)": Rule("nesterov", "1/sqrt(L)", power=0.5),
    "completep": Rule("adamw", "completep"),
}


@dataclass(frozen=True)
class LearningRates(Settings):
    """Settings of the experiment."""

    net: Net = "mlp"
    """Network: a residual MLP, or a pre-activation ResNet of one stage with GroupNorm."""
    width: int = 32
    """Features or channels of the flow."""
    pieces: Annotated[tuple[int, ...], Different()] = (1, 2, 4, 8, 16)
    """Numbers L of layers of the flow."""
    rules: Annotated[tuple[str, ...], OneOf(RULES)] = tuple(RULES)
    """Names of the rules."""
    trained: Annotated[tuple[str, ...], OneOf(("all", "flow"))] = ("all", "flow")
    """Parameters that are trained: all of them, or those of the flow alone."""
    exponents: Annotated[tuple[int, ...], Within(-20, 20), Different()] = tuple(range(-3, 8))
    """Learning rates as powers of 2, relative to `training.lr` for SGD and to `adam_lr` for AdamW."""
    adam_lr: float = 0.004
    """Learning rate of AdamW at the exponent 0."""


CPU = LearningRates(
    data="digits", augment=False, training=Training(epochs=4, batch_size=64, weight_decay=0.0, threads=1, device="cpu")
)
PRESETS = {
    "smoke": replace(
        CPU,
        train_images=128,
        seeds=(0,),
        width=4,
        pieces=(1, 2),
        rules=("none", "completep"),
        exponents=(0, 20),
        training=replace(CPU.training, epochs=1),
    ),
    "cpu": CPU,
    "gpu": LearningRates(
        net="resnet",
        train_images=10_000,
        width=16,
        pieces=(1, 4, 16),
        rules=("none", "1/h"),
        trained=("all",),
        exponents=tuple(range(-3, 4)),
        augment=False,
        training=Training(epochs=2, weight_decay=0.0, **ON_A_GPU),
    ),
}
GPU_SECONDS = 110  # estimated for one seed of the preset gpu on an H100


def learning_rates(settings: LearningRates, data: ImageData, run: PartedRun) -> None:
    """Train a net for each seed, set of trained parameters, rule, depth and learning rate, and make the table."""
    parts = [
        partial(_grid, settings, data, seed, trained, rule, pieces)
        for pieces in sorted(settings.pieces, reverse=True)  # the longest first
        for rule in settings.rules
        for trained in settings.trained
        for seed in settings.seeds
    ]
    run.each(parts)
    run.finish(table=table(run.record))


def _grid(settings: LearningRates, data: ImageData, seed: int, trained: str, rule: str, pieces: int, run: Run) -> None:
    for exponent in settings.exponents:
        place = {"trained": trained, "rule": rule, "pieces": pieces, "exponent": exponent}
        key = f"seed{seed}/{trained}/{rule}/L={pieces}/{exponent}"
        run.once(key, partial(_trained, settings, data, seed, place, key, run))


def _trained(
    settings: LearningRates, data: ImageData, seed: int, place: dict[str, Any], key: str, run: Run
) -> dict[str, Any]:
    """Train a net, and measure its loss on the training images; it is infinite if the training diverged."""
    rule = RULES[place["rule"]]
    lr = (settings.adam_lr if rule.optimizer == "adamw" else settings.training.lr) * 2.0 ** place["exponent"]
    training = replace(settings.training, lr=lr, optimizer=rule.optimizer, depth_rule=rule.depth_rule)
    torch.manual_seed(seed)
    net = flow_net(settings.net, data, settings.width, place["pieces"], horizon=place["pieces"] ** rule.power)
    if place["trained"] == "flow":
        net.requires_grad_(False)
        for block in (module for module in net.modules() if isinstance(module, ODEBlock)):
            block.requires_grad_(True)
    facts = place | {"lr": lr}
    try:
        history = train(net, key, replace(settings, training=training), data, seed, run)
    except (NonFiniteLoss, NonFiniteState):
        return facts | {"loss": math.inf, "accuracy": None}
    images = data.train_batches(1000, augment=False, shuffle=False, device=next(net.parameters()).device)
    loss = evaluate(net, Classification(data.num_classes), images)["loss"]
    return facts | {"loss": loss if math.isfinite(loss) else math.inf, "accuracy": history.last["test_accuracy"]}


def losses(record: Record, trained: str, rule: str, pieces: int) -> dict[float, list[float]]:
    """Return the losses of all seeds by learning rate, for one kind of net."""
    found: dict[float, list[float]] = {}
    for result in record.results.values():
        if (result["trained"], result["rule"], result["pieces"]) == (trained, rule, pieces):
            found.setdefault(result["lr"], []).append(result["loss"])
    return dict(sorted(found.items()))


def best(by_rate: Mapping[float, list[float]]) -> float:
    """Return the learning rate with the smallest mean loss over the seeds."""
    return min(by_rate, key=lambda lr: fmean(by_rate[lr]))


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each rule: the best learning rate of each depth, how far it moves, and the loss there."""
    settings, rows = record.settings, []
    for trained in settings["trained"]:
        for rule in settings["rules"]:
            curves = {pieces: losses(record, trained, rule, pieces) for pieces in settings["pieces"]}
            rates = {pieces: best(curve) for pieces, curve in curves.items()}
            moved = round(math.log2(max(rates.values()) / min(rates.values())))
            row = {"trained": trained, "rule": rule} | {f"L = {p}": f"{rate:.3g}" for p, rate in rates.items()}
            ends = {f"loss, L = {p}": spread(curves[p][rates[p]], 3) for p in (min(rates), max(rates))}
            rows.append(row | {"moves by 2^": moved} | ends)
    return rows


EXPERIMENT = Experiment("learning_rates", PRESETS, on_images(learning_rates), parted=True)
if __name__ == "__main__":
    EXPERIMENT.main()
