"""Networks of sigmoids, σ(z) = 1/(1 + e^(-z)), which do not train when they are deep (Nielsen 2015, chapter 5).

The gradient of an early layer is a product with one factor σ′(z)·w for each later layer, and σ′ ≤ 1/4. In a chain of
single neurons the gradient is that product of numbers; in layers of many neurons it is a product of matrices, and as
small.
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
"""Function that initializes the weights and biases of a linear layer in place."""


def nielsen(layer: nn.Linear) -> None:
    """Draw W ~ N(0, 1/n) and b ~ N(0, 1), where n is the number of inputs (Nielsen 2015, chapter 3)."""
    nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    nn.init.normal_(layer.bias)


def unit_normal(layer: nn.Linear) -> None:
    """Draw W ~ N(0, 1) and b ~ N(0, 1), which saturates neurons with many inputs (Nielsen 2015, chapter 1)."""
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)


def glorot(layer: nn.Linear) -> None:
    """Draw W uniformly with variance 2/(n + m), b = 0, for n inputs and m outputs (Glorot & Bengio 2010, eq. 16)."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def sigmoid_slope(z: Tensor) -> Tensor:
    """Return σ′(z) = σ(z)·(1 - σ(z)), whose maximum is 1/4, at z = 0."""
    a = torch.sigmoid(z)
    return a * (1 - a)


def sweet_spot(weight: float) -> float:
    """Return the length of the interval of a on which |w·σ′(w·a + b)| ≥ 1, so that the gradient does not shrink.

    It is 2/|w|·ln(|w|·(1 + √(1 - 4/|w|))/2 - 1), whatever b. The interval is empty for |w| < 4, and never longer than
    0.44774, at |w| = 6.8942 (Nielsen 2015, chapter 5, an exercise).

    >>> sweet_spot(3.9), round(sweet_spot(6.8942), 5), round(sweet_spot(-100), 5)
    (0.0, 0.44774, 0.0917)
    """
    size = abs(weight)
    return 2 / size * math.log(size * (1 + math.sqrt(1 - 4 / size)) / 2 - 1) if size >= 4 else 0.0


class SigmoidChain(nn.Module):
    """a_l = σ(z_l), z_l = w_l·a_(l-1) + b_l for l = 1, …, L: a deep net with one neuron in each layer.

    Args:
        weights: vector w of shape (L,).
        biases: vector b of shape (L,).

    Raises:
        ValueError: if there is not one weight and one bias for each layer.
    """

    @checked
    def __init__(self, weights: Tensor, biases: Tensor) -> None:
        super().__init__()
        if weights.dim() != 1 or len(weights) == 0 or biases.shape != weights.shape:
            raise ValueError(
                f"weights of shape {tuple(weights.shape)} and biases of shape {tuple(biases.shape)} make no chain; a "
                "layer has one weight and one bias: pass two vectors of the same length, 1 or more."
            )
        self.weights, self.biases = nn.Parameter(weights.clone()), nn.Parameter(biases.clone())

    @classmethod
    @checked
    def centred(cls, weights: Tensor, a: Tensor) -> SigmoidChain:
        """Build the chain whose biases make each z_l = 0 for the scalar input `a`: σ′(z_l) = 1/4, its maximum."""
        before = torch.cat([a.reshape(1).to(weights), torch.full_like(weights[1:], 0.5)])
        return cls(weights, -weights * before)

    def forward(self, a: Tensor) -> Tensor:
        """Return a_L for inputs a_0 of any shape."""
        return torch.sigmoid(self.inputs(a)[-1])

    def inputs(self, a: Tensor) -> Tensor:
        """Return z_1, …, z_L, of shape (L, *a.shape)."""
        z = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            z.append(weight * a + bias)
            a = torch.sigmoid(z[-1])
        return torch.stack(z)

    @checked
    def factors(self, a: Tensor) -> Tensor:
        """Return the factors σ′(z_l)·w_(l+1) of the gradient for l = 1, …, L-1, of shape (L-1, *a.shape)."""
        slopes = sigmoid_slope(self.inputs(a))
        return slopes[:-1] * self.weights[1:].view(-1, *[1] * a.dim())

    @checked
    def bias_gradients(self, a: Tensor) -> Tensor:
        """Return ∂a_L/∂b_l = σ′(z_l)·w_(l+1)·σ′(z_(l+1)) ⋯ w_L·σ′(z_L) for l = 1, …, L, of shape (L, *a.shape).

        Multiplied by ∂C/∂a_L, this is the gradient of a cost C with respect to the biases.
        """
        last = sigmoid_slope(self.inputs(a)[-1:])
        return torch.cat([self.factors(a), last]).flip(0).cumprod(0).flip(0)


class SigmoidLayer(nn.Module):
    """F(x) = σ(norm(W·x + b)): a fully connected layer as a branch.

    Args:
        features: number of features of the output, and of x unless `in_features` is given.
        in_features: number of features of x.
        norm: constructor of a normalization layer, called with the number of features, such as `nn.BatchNorm1d`;
            `nn.Identity` for none.
        initialize: function that sets the initial W and b.
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
        """Return F(x), (batch, in_features) → (batch, features), which does not depend on t."""
        return torch.sigmoid(self.norm(self.linear(x)))


class SigmoidMLP(nn.Module):
    """x_l = σ(norm(W_l·x_(l-1) + b_l)) for l = 1, …, depth, from the pixels x_0 to the logits W·x_depth + b.

    The layers after the first keep the width, so they form a stage: `flow=plain_stage` makes the net of the textbooks,
    `flow=residual_flow` one with identity shortcuts, x_l = x_(l-1) + σ(norm(W_l·x_(l-1) + b_l)).

    Args:
        depth: number of hidden layers.
        in_features: product channels · height · width of the images.
        num_classes: number of logits.
        width: number of neurons in a hidden layer; 30 in Nielsen's experiments.
        norm: constructor of a normalization layer, called with the number of features, such as `nn.BatchNorm1d`;
            `nn.Identity` for none.
        initialize: function that sets the initial weights and biases of a layer.
        flow: constructor of the stage of the layers after the first.

    Raises:
        ValueError: if a count is not a positive integer, or if images have another number of features.
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
        """Return logits (batch, num_classes) for images of shape (batch, channels, height, width)."""
        x = x.flatten(1)
        if x.shape[1] != self.in_features:
            raise ValueError(
                f"SigmoidMLP was given images of {x.shape[1]} features; its first layer has in_features="
                f"{self.in_features}: resize the images, or build the network with in_features={x.shape[1]}."
            )
        require_dtype(x, self)
        return self.head(self.stage(self.first(0.0, x)))
