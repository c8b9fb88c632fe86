"""Networks of sigmoids, σ(z) = 1/(1 + e^(-z)), which did not train when they were deep (Nielsen 2015, chapter 5).

The gradient of an early layer is a product with a factor σ′(z)·w for each later one, and σ′ ≤ 1/4. In the chain of
single neurons that product is all there is, so the formula can be read off; in layers of many neurons it is one of
matrices, and as small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import label_blocks
from odenet.blocks.branches import Norm
from odenet.blocks.theta.base import Time
from odenet.models.images import require_dtype
from odenet.models.plain import plain_stage
from odenet.models.resnet import Flow

Initialize: TypeAlias = Callable[[nn.Linear], None]
"""Gives a linear layer its first weights and biases."""


def nielsen(layer: nn.Linear) -> None:
    """W ~ N(0, 1/n), b ~ N(0, 1), n the number of inputs (Nielsen 2015, chapter 3)."""
    nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    nn.init.normal_(layer.bias)


def unit_normal(layer: nn.Linear) -> None:
    """W ~ N(0, 1), b ~ N(0, 1): saturates neurons of many inputs (Nielsen 2015, chapter 1)."""
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)


def glorot(layer: nn.Linear) -> None:
    """W uniform of variance 2/(n + m), b = 0, for n inputs and m outputs (Glorot & Bengio 2010, equation 16)."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def sigmoid_slope(z: Tensor) -> Tensor:
    """σ′(z) = σ(z)·(1 - σ(z)), at most 1/4, at z = 0."""
    a = torch.sigmoid(z)
    return a * (1 - a)


def sweet_spot(weight: float) -> float:
    """Length of the interval of a on which |w·σ′(w·a + b)| ≥ 1, whatever b: 2/|w|·ln(|w|·(1 + √(1 - 4/|w|))/2 - 1).

    Only there does a neuron of a chain not shrink the gradient. It is empty for |w| < 4, and never longer than 0.44774,
    at |w| = 6.8942 (Nielsen 2015, chapter 5, an exercise).

    >>> sweet_spot(3.9), round(sweet_spot(6.8942), 5), round(sweet_spot(-100), 5)
    (0.0, 0.44774, 0.0917)
    """
    size = abs(weight)
    return 2 / size * math.log(size * (1 + math.sqrt(1 - 4 / size)) / 2 - 1) if size >= 4 else 0.0


class SigmoidChain(nn.Module):
    """a_l = σ(z_l), z_l = w_l·a_(l-1) + b_l for l = 1, …, L: a deep net of one neuron a layer.

    Args:
        weights: w, of shape (L,).
        biases: b, of shape (L,).

    Raises:
        ValueError: shapes that are not those of one weight and one bias a layer.
    """

    @checked
    def __init__(self, weights: Tensor, biases: Tensor) -> None:
        super().__init__()
        if weights.dim() != 1 or len(weights) == 0 or biases.shape != weights.shape:
            raise ValueError(
                f"weights of shape {tuple(weights.shape)} and biases of shape {tuple(biases.shape)} make no chain: it "
                "has one weight and one bias a layer; pass two vectors of the same length, 1 or more."
            )
        self.weights, self.biases = nn.Parameter(weights.clone()), nn.Parameter(biases.clone())

    @classmethod
    @checked
    def centred(cls, weights: Tensor, a: Tensor) -> SigmoidChain:
        """The chain whose biases put every z_l at 0 for the input `a`, a scalar: each σ′(z_l) is 1/4, its largest."""
        before = torch.cat([a.reshape(1).to(weights), torch.full_like(weights[1:], 0.5)])
        return cls(weights, -weights * before)

    def forward(self, a: Tensor) -> Tensor:
        """a_L for inputs a_0 of any shape."""
        return torch.sigmoid(self.inputs(a)[-1])

    def inputs(self, a: Tensor) -> Tensor:
        """z_1, …, z_L, of shape (L, *a.shape)."""
        z = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            z.append(weight * a + bias)
            a = torch.sigmoid(z[-1])
        return torch.stack(z)

    @checked
    def factors(self, a: Tensor) -> Tensor:
        """σ′(z_l)·w_(l+1) for l = 1, …, L-1: what each layer multiplies the gradient by; of shape (L-1, *a.shape)."""
        slopes = sigmoid_slope(self.inputs(a))
        return slopes[:-1] * self.weights[1:].view(-1, *[1] * a.dim())

    @checked
    def bias_gradients(self, a: Tensor) -> Tensor:
        """∂a_L/∂b_l = σ′(z_l)·w_(l+1)·σ′(z_(l+1)) ⋯ w_L·σ′(z_L) for l = 1, …, L; of shape (L, *a.shape).

        Times ∂C/∂a_L, the gradient of a cost C by the biases.
        """
        last = sigmoid_slope(self.inputs(a)[-1:])
        return torch.cat([self.factors(a), last]).flip(0).cumprod(0).flip(0)


class SigmoidLayer(nn.Module):
    """F(x) = σ(norm(W·x + b)), a fully connected layer as a branch.

    Args:
        features: of the output, and of x unless `in_features` says otherwise.
        in_features: of x.
        norm: makes the normalization of a number of features: `nn.Identity` for none, `nn.BatchNorm1d`.
        initialize: gives W and b their first values.
    """

    def __init__(
        self,
        features: int,
        *,
        in_features: int | None = None,
        norm: Norm = nn.Identity,
        initialize: Initialize = nielsen,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(features if in_features is None else in_features, features)
        self.norm = norm(features)
        initialize(self.linear)

    def forward(self, t: Time, x: Tensor) -> Tensor:  # noqa: ARG002
        """(batch, in_features) → (batch, features); the same at every t."""
        return torch.sigmoid(self.norm(self.linear(x)))


class SigmoidMLP(nn.Module):
    """x_0 the pixels, x_l = σ(norm(W_l·x_(l-1) + b_l)) for l = 1, …, depth, and logits W·x_depth + b.

    The layers after the first keep the width, so they are a stage: `flow=plain_stage` makes the net of the textbooks,
    `flow=residual_flow` the same with identities, x_l = x_(l-1) + σ(norm(W_l·x_(l-1) + b_l)).

    Args:
        depth: number of hidden layers.
        in_features: channels · height · width of the images.
        num_classes: number of logits.
        width: neurons in a hidden layer; 30 in Nielsen's experiments.
        norm: makes the normalization of a number of features: `nn.Identity` for none, `nn.BatchNorm1d`.
        initialize: gives each layer its first weights and biases.
        flow: makes the stage of the layers after the first.

    Raises:
        ValueError: a count that is not a positive integer; images of another number of features.
    """

    @checked
    def __init__(
        self,
        depth: int,
        in_features: int = 784,
        num_classes: int = 10,
        *,
        width: int = 30,
        norm: Norm = nn.Identity,
        initialize: Initialize = nielsen,
        flow: Flow = plain_stage,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.first = SigmoidLayer(width, in_features=in_features, norm=norm, initialize=initialize)

        def layer() -> SigmoidLayer:
            return SigmoidLayer(width, norm=norm, initialize=initialize)

        self.stage = flow(layer, depth - 1, None) if depth > 1 else nn.Identity()
        self.head = nn.Linear(width, num_classes)
        initialize(self.head)
        label_blocks(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, num_classes) for images of shape (batch, channels, height, width)."""
        x = x.flatten(1)
        if x.shape[1] != self.in_features:
            raise ValueError(
                f"SigmoidMLP was given images of {x.shape[1]} features; its first layer has in_features="
                f"{self.in_features}: resize the images, or build the network with in_features={x.shape[1]}."
            )
        require_dtype(x, self)
        return self.head(self.stage(self.first(0.0, x)))
