"""The ODE-Net for MNIST and the two nets it is compared with (Chen et al. 2018, section 3, table 1, released code).

All three share a stem (`trunk`: three convolutions, 28×28 → 6×6×64) and a head; they differ in the flow between them:

- `ode_net` has constant θ, adaptive Dormand-Prince steps and the continuous adjoint: 208,266 parameters;
- `rk_net` has constant θ, fixed steps of RK4 and backpropagation: 208,266 parameters;
- `res_net` has six residual blocks, each with its own weights: 576,778 parameters.

The paper prints 0.22 M and 0.60 M; no configuration of its released code gives both numbers.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock, label_blocks
from odenet.blocks.branches import BasicBranch, ConcatConvBranch, Norm, group_norm
from odenet.blocks.gradients.base import ContinuousAdjoint, GradientMethod
from odenet.blocks.solvers.runge_kutta import RK4
from odenet.blocks.stepping.adaptive import Adaptive
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import Constant, PiecewiseConstant
from odenet.models.images import require_images


class FlowClassifier(nn.Module):
    """Classifier: `trunk` (stride 4) → flow on (batch, channels, h, w) → norm, ReLU, mean over pixels, linear → logits.

    Args:
        flow: module between `trunk` and head, which keeps the shape of its input.
        num_classes: number of logits.
        in_channels: number of channels of the images.
        channels: number of channels of the flow's state.
        norm: constructor of a normalization layer, called with the number of channels.
    """

    @checked
    def __init__(
        self, flow: nn.Module, num_classes: int, in_channels: int, channels: int, norm: Norm = group_norm
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.trunk = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3),
            norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 4, 2, padding=1),
            norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 4, 2, padding=1),
        )
        self.flow = flow
        self.finish = nn.Sequential(OrderedDict(norm=norm(channels), relu=nn.ReLU()))
        self.head = nn.Linear(channels, num_classes)
        label_blocks(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (batch, num_classes) for images of shape (batch, in_channels, height, width)."""
        require_images(x, self.in_channels, 6, self)
        x = self.finish(self.flow(self.trunk(x)))
        return self.head(x.mean(dim=(2, 3)))


@checked
def ode_net(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    channels: int = 64,
    stepping: Stepping | None = None,
    gradient: GradientMethod | None = None,
) -> FlowClassifier:
    """Build the ODE-Net: x′ = F(x, t; θ) on [0, 1], by default with dopri5 at tolerance 1e-3 and continuous adjoint."""
    flow = ODEBlock(
        Constant(ConcatConvBranch(channels)),
        stepping or Adaptive("dopri5", rtol=1e-3, atol=1e-3),
        gradient or ContinuousAdjoint(),
    )
    return FlowClassifier(flow, num_classes, in_channels, channels)


@checked
def rk_net(num_classes: int = 10, in_channels: int = 1, *, channels: int = 64, steps: int = 1) -> FlowClassifier:
    """Build the RK-Net: the ODE-Net's vector field with `steps` fixed steps of RK4, trained by backpropagation."""
    flow = ODEBlock(Constant(ConcatConvBranch(channels)), FixedSteps(RK4(), per_piece=steps))
    return FlowClassifier(flow, num_classes, in_channels, channels)


@checked
def res_net(num_classes: int = 10, in_channels: int = 1, *, channels: int = 64, blocks: int = 6) -> FlowClassifier:
    """Build the ResNet of the comparison: `blocks` pre-activation residual blocks with GroupNorm."""
    flow = ODEBlock(PiecewiseConstant([BasicBranch(channels, norm=group_norm) for _ in range(blocks)]))
    return FlowClassifier(flow, num_classes, in_channels, channels)
