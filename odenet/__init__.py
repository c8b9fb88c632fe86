"""odenet: a residual network is an ODE solved by Euler's method, x[k+1] = x[k] + h·F(x[k]; θ[k]).

The names here are those of `odenet.blocks`, in the order of the story: θ(t) and the branches that it parametrizes, the
solvers, the stepping, the gradient methods, the block, refinement. Networks are in `odenet.models`, data sets in
`odenet.data`, the training loop in `odenet.training`; each is imported when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from odenet.blocks.block import ODEBlock
from odenet.blocks.branches import (
    Autonomous,
    BasicBranch,
    BottleneckBranch,
    ConcatConv,
    ConcatConvBranch,
    HamiltonianBranch,
    MLPBranch,
    SymmetricBranch,
    group_norm,
)
from odenet.blocks.compile.programs import CompileWarning
from odenet.blocks.configuration import configure
from odenet.blocks.costs import Cost, JacobianNorm, KineticEnergy, LocalError
from odenet.blocks.errors import BudgetWarning, NonFiniteState, SolveReport, StatisticsWarning, Status
from odenet.blocks.gradients.base import Backprop, ContinuousAdjoint
from odenet.blocks.gradients.checkpointed import Checkpointed
from odenet.blocks.gradients.regularized import Regularized
from odenet.blocks.gradients.reversible import Reversible
from odenet.blocks.initialization import initialize_depth
from odenet.blocks.multilevel import coarsen_steps, coarsen_theta, refine_steps, refine_theta
from odenet.blocks.penalty import penalty
from odenet.blocks.projections import ConvexProjection, Nonnegative
from odenet.blocks.second_order import HeavyBall, SecondOrder
from odenet.blocks.solvers.embedded import Bosh3, Dopri5, Tsit5
from odenet.blocks.solvers.momentum import MomentumEuler
from odenet.blocks.solvers.partitioned import SymplecticEuler, Verlet
from odenet.blocks.solvers.reversible import (
    AsynchronousLeapfrog,
    Coupled,
    Leapfrog,
    ReversibleHeun,
    ReversibleSolver,
)
from odenet.blocks.solvers.runge_kutta import (
    RK4,
    ClassicalRK4,
    Euler,
    Heun,
    Heun3,
    Midpoint,
    Ralston,
    RungeKutta,
    Solver,
)
from odenet.blocks.solvers.tableau import ButcherTableau
from odenet.blocks.statistics.recalibration import recalibrate
from odenet.blocks.stepping.adaptive import Adaptive
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.stepping.mixed import Mixed
from odenet.blocks.stochastic_depth import StochasticDepth, linear_decay
from odenet.blocks.theta.base import Constant, LinearTheta, Piece, PiecewiseConstant, PiecewiseLinear, Theta
from odenet.blocks.theta.convert import project_theta
from odenet.blocks.theta.galerkin import Galerkin
from odenet.blocks.theta.spline import Spline
from odenet.blocks.trajectory import trajectory

__version__ = "0.1.0"

__all__ = [
    "RK4",
    "Adaptive",
    "AsynchronousLeapfrog",
    "Autonomous",
    "Backprop",
    "BasicBranch",
    "Bosh3",
    "BottleneckBranch",
    "BudgetWarning",
    "ButcherTableau",
    "Checkpointed",
    "ClassicalRK4",
    "CompileWarning",
    "ConcatConv",
    "ConcatConvBranch",
    "Constant",
    "ContinuousAdjoint",
    "ConvexProjection",
    "Cost",
    "Coupled",
    "Dopri5",
    "Euler",
    "FixedSteps",
    "Galerkin",
    "HamiltonianBranch",
    "HeavyBall",
    "Heun",
    "Heun3",
    "JacobianNorm",
    "KineticEnergy",
    "Leapfrog",
    "LinearTheta",
    "LocalError",
    "MLPBranch",
    "Midpoint",
    "Mixed",
    "MomentumEuler",
    "NonFiniteState",
    "Nonnegative",
    "ODEBlock",
    "Piece",
    "PiecewiseConstant",
    "PiecewiseLinear",
    "Ralston",
    "Regularized",
    "Reversible",
    "ReversibleHeun",
    "ReversibleSolver",
    "RungeKutta",
    "SecondOrder",
    "SolveReport",
    "Solver",
    "Spline",
    "StatisticsWarning",
    "Status",
    "StochasticDepth",
    "SymmetricBranch",
    "SymplecticEuler",
    "Theta",
    "Tsit5",
    "Verlet",
    "coarsen_steps",
    "coarsen_theta",
    "configure",
    "group_norm",
    "initialize_depth",
    "linear_decay",
    "penalty",
    "project_theta",
    "recalibrate",
    "refine_steps",
    "refine_theta",
    "trajectory",
]

_WINGS = ("layers", "models", "data", "measure", "training")
_CONVERTERS = ("from_torchvision", "to_torchvision")

if TYPE_CHECKING:  # a name that is not there is an error to type checkers, which __getattr__ would hide from them
    from odenet import data as data
    from odenet import layers as layers
    from odenet import measure as measure
    from odenet import models as models
    from odenet import training as training
    from odenet.models import from_torchvision as from_torchvision
    from odenet.models import to_torchvision as to_torchvision
else:

    def __getattr__(name: str) -> object:
        """Import a wing when it is first asked for: `odenet.models.resnet18()` after `import odenet` alone."""
        if name in _WINGS:
            return import_module(f"odenet.{name}")
        if name in _CONVERTERS:  # of networks, which a block can do without
            return getattr(import_module("odenet.models"), name)
        raise AttributeError(f"module 'odenet' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the module with those that are imported when they are asked for."""
    return sorted({*globals(), *_WINGS, *_CONVERTERS})
