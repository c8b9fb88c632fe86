"""Why do deep sigmoid nets not train? Vanishing and exploding gradients, layer by layer.

- The lecture's chain a_l = σ(w·a_(l-1) + b): each factor σ′(z)·w of ∂C/∂b_1 is below 1/4 if |w| < 1, and 25 if w = 100
  and biases make z = 0.
- Sigmoid nets of growing depth, also with BatchNorm or with identities; plain and residual nets of 20 and 56 layers,
  with and without BatchNorm; GoogLeNet with and without its auxiliary losses: at initialization, and after training.
- ‖∂C/∂b_l‖ of sigmoid nets over 500 steps of gradient descent on 1,000 images (Nielsen 2015, chapter 5).

    python -m experiments.gradient_flow cpu    # Fashion-MNIST: 10 minutes on one core
    python -m experiments.gradient_flow gpu    # all of it at 28×28, 3 epochs (full: 5): 90 s a seed on an H100

Expected: a hidden layer of sigmoids passes back a fifth of the error (z ~ N(0, 1.3), √(E σ′²) = 0.20), so the layer
before learns that much more slowly (Nielsen, from memory: 0.003, 0.017, 0.070, 0.285). BatchNorm preserves the error
(E σ′²/Var σ = 1.03), and so do identities. In a plain net with BatchNorm and ReLUs it *grows* backwards by
√(½/(½ - 1/2π)) = 1.21 a layer (Yang et al. 2019), in a residual net much less: degradation is no vanishing gradient (He
et al. 2015, section 4.1). Without BatchNorm, He's initialization keeps it level in plain nets; identities make it grow.
Auxiliary losses raise it before module 4e. Seen: so, but plain nets without BatchNorm lose 9 % a layer to zero padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from statistics import geometric_mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds
from experiments.support.training import LazyTraining
from odenet.data import ImageData
from odenet.measure import layer_gradients, weight_movement
from odenet.models import SigmoidChain, SigmoidMLP, cifar_resnet, googlenet
from odenet.models.plain import plain_stage
from odenet.models.resnet import residual_flow
from odenet.training import AuxiliaryClassification, Classification, Record, Run, Task, Training


@dataclass(frozen=True)
class GradientFlow(Settings):
    """Settings of the experiment."""

    depths: tuple[int, ...] = (2, 3, 4, 6, 8, 12)
    """Numbers of hidden layers of the sigmoid nets, each layer of 30 neurons (Nielsen 2015)."""
    followed: tuple[int, ...] = (2, 3, 4)
    """Depths of the sigmoid nets whose gradients are measured during gradient descent (Nielsen 2015)."""
    steps: int = 500
    """Number of steps of gradient descent (Nielsen 2015)."""
    probe_images: int = 1000
    """Number of training images for gradient descent and measurements of the sigmoid nets (Nielsen 2015)."""
    batch: int = 128
    """Number of training images on which the other nets are measured."""
    blocks: tuple[int, ...] = (3, 9)
    """Numbers of residual blocks per stage: 3 for 20 layers, 9 for 56 (He et al. 2015)."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage."""
    stem_stride: int = 2
    """Stride of the first convolution; with 2, which halves the image, a net takes a quarter of the operations."""
    trained_seeds: int = 1
    """Number of seeds for which these nets are also trained; with the others they are measured at initialization."""
    side: int = 32
    """Side in pixels to which images are enlarged for GoogLeNet, 31 or more."""


TRAINING = Training(epochs=2, batch_size=64, gradient_clip=1.0, threads=1)  # nets without BatchNorm need the clip
CPU = GradientFlow(train_images=8000, training=TRAINING)
GPU = replace(CPU, train_images=None, stem_stride=1, trained_seeds=3, training=replace(TRAINING, epochs=3, **ON_A_GPU))
FULL = replace(GPU, side=64, training=replace(GPU.training, epochs=5))
SMOKE = replace(CPU, data="digits", train_images=128, seeds=(0,), training=replace(TRAINING, epochs=1))
PRESETS = {
    "smoke": replace(SMOKE, depths=(2, 3), followed=(2, 3), steps=20, batch=32, blocks=(1, 2), widths=(4, 8)),
    **{"cpu": CPU, "gpu": GPU, "full": FULL},
}
GPU_SECONDS = 90  # estimated for one seed of the preset gpu on an H100

SIGMOID_NETS: dict[str, Callable[..., SigmoidMLP]] = {
    "sigmoid": SigmoidMLP,
    "sigmoid+bn": partial(SigmoidMLP, norm=nn.BatchNorm1d),
    "sigmoid+identity": partial(SigmoidMLP, flow=residual_flow),
}
FAMILIES: dict[str, dict[str, Any]] = {"plain": {"shortcut": None, "flow": plain_stage}, "resnet": {}}
NORMS = {"": nn.Identity, "+bn": nn.BatchNorm2d}
AUXILIARY_WEIGHTS = {"googlenet": 0.0, "googlenet+auxiliary": 0.3}


def gradient_flow(settings: GradientFlow, data: ImageData, run: Run) -> None:
    """Measure the chains; then for each seed the sigmoid nets, and every other net before and after training."""
    sigmoid_chains(run)
    for seed in settings.seeds:
        sigmoid_nets(settings, data, seed, run)
        for name, make, task in networks(settings, data):
            torch.manual_seed(seed)
            net, key = make(), f"seed{seed}/{name}"
            run.once(f"{key}/initial", partial(measured, net, settings, data, task, seed))
            if seed in settings.seeds[: settings.trained_seeds]:
                train(net, key, settings, data, task, seed, run)
    run.finish(table=table(run.record))


def networks(settings: GradientFlow, data: ImageData) -> Iterator[tuple[str, Callable[[], nn.Module], Task]]:
    """Yield name, constructor and task of the plain and residual nets, and of GoogLeNet."""
    classes, channels, enlarged = data.num_classes, data.in_channels, nn.Upsample((settings.side,) * 2, mode="bilinear")
    for blocks, family, norm in product(settings.blocks, FAMILIES, NORMS):
        options = {"widths": settings.widths, "stem_stride": settings.stem_stride, "norm": NORMS[norm]}
        make = partial(cifar_resnet, blocks, classes, channels, **options, **FAMILIES[family])
        yield f"{family}{6 * blocks + 2}{norm}", make, Classification(classes)
    for name, weight in AUXILIARY_WEIGHTS.items():
        task = AuxiliaryClassification(classes, weight=weight)
        yield name, lambda: nn.Sequential(enlarged, googlenet(classes, channels)), task


def sigmoid_chains(run: Run) -> None:
    """Record chains of four neurons of equal weights at a_0 = 1/2, with biases that make z = 0 and without biases."""
    a = torch.tensor(0.5, dtype=torch.float64)
    for w in (0.9, 6.9, 100.0):
        weights, zeros = torch.full((4,), w, dtype=a.dtype), torch.zeros(4, dtype=a.dtype)
        chains = {"z=0": SigmoidChain.centred(weights, a), "b=0": SigmoidChain(weights, zeros)}
        for name, chain in chains.items():
            gradients = {"factors": chain.factors(a).tolist(), "bias_gradients": chain.bias_gradients(a).tolist()}
            run.once(f"chain/w={w:g}, {name}", lambda gradients=gradients: gradients)


def sigmoid_nets(settings: GradientFlow, data: ImageData, seed: int, run: Run) -> None:
    """Measure sigmoid nets of each depth at initialization, and some of them during gradient descent."""
    images = data.train.images[: settings.probe_images].float() / 255  # in [0, 1], as in Nielsen 2015
    target = F.one_hot(data.train.labels[: settings.probe_images], data.num_classes).float()

    def cost(logits: Tensor) -> Tensor:
        """Return Nielsen's cost: the cross-entropy of sigmoid outputs, summed over the outputs."""
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)

    for (name, make), depth in product(SIGMOID_NETS.items(), settings.depths):
        torch.manual_seed(seed)
        net, key = make(depth, images[0].numel(), data.num_classes), f"seed{seed}/{name}{depth}"
        run.once(f"{key}/initial", partial(by_layer, net, images, cost))
        if name == "sigmoid" and depth in settings.followed:
            run.once(f"{key}/speed", partial(gradient_descent, net, images, cost, settings.steps))


def gradient_descent(net: nn.Module, images: Tensor, cost: Callable[[Tensor], Tensor], steps: int) -> dict[str, Any]:
    """Train by gradient descent with Nielsen's step and decay; return cost and ‖∂C/∂b_l‖ at every tenth step."""
    weights, biases = ([p for p in net.parameters() if (p.dim() > 1) is matrix] for matrix in (True, False))
    optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 5 / len(images)}, {"params": biases}], lr=0.1)
    curves: dict[str, list[Any]] = {"step": [], "cost": [], "bias_gradient": []}
    for step in range(steps + 1):
        value = cost(net(images))
        if step % 10 == 0:
            row = {"step": step, "cost": value.item(), "bias_gradient": by_layer(net, images, cost)["bias_gradient"]}
            curves = {name: [*values, row[name]] for name, values in curves.items()}
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return curves


def measured(net: nn.Module, settings: GradientFlow, data: ImageData, task: Task, seed: int) -> dict[str, Any]:
    """Measure the gradient of the task's loss on one batch, layer by layer, in training mode."""
    device = next(net.parameters()).device
    images, labels = next(data.train_batches(settings.batch, augment=False, shuffle=False, device=device).epoch(0))
    torch.manual_seed(seed)  # so that dropout masks do not depend on what was drawn before
    return by_layer(net.train(), images, lambda outputs: task.loss(outputs, labels))


def by_layer(net: nn.Module, images: Tensor, cost: Callable[[Any], Tensor]) -> dict[str, Any]:
    """Return the measurements of `layer_gradients` for the layers before the classifiers, a list per quantity."""
    layers = [e for e in layer_gradients(net, images, cost) if not {"head", "auxiliaries"} & {*e.name.split(".")}]
    names = ("name", "depth", "error", "weight_gradient", "bias_gradient")
    return {name: [getattr(entry, name) for entry in layers] for name in names}


def train(net: nn.Module, key: str, settings: GradientFlow, data: ImageData, task: Task, seed: int, run: Run) -> None:
    """Train `net`, and record its gradients after training and how far the weights of each layer have moved."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tested = replace(data, test=data.test.first(min(1000, len(data.test))))
    later = LazyTraining(lambda: net, key, settings, tested, seed, run, task)
    after = run.once(f"{key}/trained", lambda: measured(later.net, settings, data, task, seed))
    moved = cache(lambda: weight_movement(before, later.net.state_dict()))
    run.once(f"{key}/history", lambda: {"movement": [moved()[n] for n in after["name"]], "rows": later.history.rows})


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each net: the error of the first layer over that of the last, and the factor per layer."""
    keys = dict.fromkeys(key.partition("/")[2] for key, result in record.results.items() if "error" in result)
    return [_row(key, over_seeds(record.results, key, "error")) for key in keys]


def _row(key: str, errors: list[list[float]]) -> dict[str, Any]:
    ratio, layers = geometric_mean([e[0] / e[-1] for e in errors]), len(errors[0])
    return {"net": key, "layers": layers, "first/last": f"{ratio:.3g}", "a layer": f"{ratio ** (1 / (layers - 1)):.3f}"}


EXPERIMENT = Experiment("gradient_flow", PRESETS, on_images(gradient_flow))
if __name__ == "__main__":
    EXPERIMENT.main()
