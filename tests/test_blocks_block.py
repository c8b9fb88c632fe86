"""An ODE block equals the hand-written loop of a residual network, and every axis of it can be replaced."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    Backprop,
    BasicBranch,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    Heun,
    Midpoint,
    MLPBranch,
    NonFiniteState,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Reversible,
    StochasticDepth,
    group_norm,
)
from odenet.blocks.block import label_blocks
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.theta.base import Time
from tests.laws import Graphs, logistic_nodes, states

DEEPEST = 256


class TinyBranch(nn.Module):
    """A normalization and a convolution, scaled so that 256 steps of h = 1 stay finite."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            self.conv.weight /= 16

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class Loop:
    """The hand-written loop x ← x + h·F_i(x) over 256 residual blocks, with the state after each block."""

    def __init__(self, h: float, training: bool) -> None:
        torch.manual_seed(0)
        self.branches = [TinyBranch().train(training) for _ in range(DEEPEST)]
        self.x = torch.randn(1, 2, 4, 4, requires_grad=True)
        self.states: list[Tensor] = []
        x = self.x
        for branch in self.branches:
            x = x + branch(0.0, x) if h == 1 else x + h * branch(0.0, x)
            self.states.append(x)

    def gradients(self, y: Tensor, n: int) -> list[Tensor]:
        """Return gradients of a function of y in x and in the parameters of the first n branches."""
        inputs = [self.x, *(parameter for branch in self.branches[:n] for parameter in branch.parameters())]
        return list(torch.autograd.grad(y, inputs, self.x.detach(), retain_graph=True))


def copies(branches: list[TinyBranch]) -> list[TinyBranch]:
    """Return branches with the same parameters, and with initial statistics of their own."""
    again = copy.deepcopy(branches)
    for new, branch in zip(again, branches, strict=True):
        new.norm.reset_running_stats()
        new.norm.weight, new.norm.bias, new.conv.weight = branch.norm.weight, branch.norm.bias, branch.conv.weight
    return again


WITH_GRADIENTS = (*range(1, 33), 49, 77, 100, 127, 128, 129, 255, 256)
"""Numbers of pieces for which gradients are compared; not all of 1, …, 256, to save time."""


def all_equal(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_flow_of_n_pieces_equals_the_loop_over_n_residual_blocks_bit_for_bit_for_every_n(training: bool) -> None:
    loop = Loop(1.0, training)
    branches = copies(loop.branches)
    ours, theirs = ([b for branch in bs for b in branch.buffers()] for bs in (branches, loop.branches))
    for n, expected in enumerate(loop.states, start=1):
        block = ODEBlock(PiecewiseConstant(branches[:n])).train(training)
        y = block(loop.x)
        assert torch.equal(y, expected), n
        assert all_equal(ours[: 3 * n], theirs[: 3 * n]), n
        assert block.evaluations == n
        if n in WITH_GRADIENTS:
            assert all_equal(loop.gradients(y, n), loop.gradients(expected, n)), n
        for branch in branches[:n] if training else ():
            branch.norm.reset_running_stats()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_on_half_the_horizon_it_equals_the_loop_with_half_steps(training: bool) -> None:
    loop = Loop(0.5, training)
    branches = copies(loop.branches)
    for n in WITH_GRADIENTS:
        y = ODEBlock(PiecewiseConstant(branches[:n], horizon=n / 2)).train(training)(loop.x)
        assert torch.equal(y, loop.states[n - 1]), n
        assert all_equal(loop.gradients(y, n), loop.gradients(loop.states[n - 1], n)), n


def test_a_projected_flow_equals_the_loop_over_post_activation_blocks_bit_for_bit() -> None:
    torch.manual_seed(0)
    branches = [BasicBranch(3, activation="post") for _ in range(5)]
    reference = copy.deepcopy(branches)
    block = ODEBlock(PiecewiseConstant(branches), projection=torch.relu)
    x = y = torch.randn(4, 3, 5, 5)
    for branch in reference:
        y = torch.relu(y + branch(0.0, y))
    assert torch.equal(block(x), y)
    ours, theirs = (nn.ModuleList(modules).state_dict() for modules in (branches, reference))
    assert all_equal(ours.values(), theirs.values())


@pytest.mark.parametrize(
    ("make", "per_piece", "evaluations"),
    [
        (lambda: Constant(BasicBranch(2)), 3, 3),
        (lambda: PiecewiseConstant([BasicBranch(2) for _ in range(4)]), 3, 12),
        (lambda: PiecewiseLinear([BasicBranch(2, norm=group_norm) for _ in range(4)]), 3, 9),
    ],
    ids=["Constant", "PiecewiseConstant", "PiecewiseLinear"],
)
@pytest.mark.parametrize(("solver", "stages"), [("euler", 1), ("heun2", 2), ("heun3", 3), ("rk4", 4)])
def test_evaluations_are_pieces_times_steps_times_stages(
    make: Any, per_piece: int, evaluations: int, solver: str, stages: int
) -> None:
    block = ODEBlock(make(), FixedSteps(solver, per_piece))
    assert block.evaluations == 0
    for _ in range(2):
        block(torch.randn(2, 2, 4, 4))
        assert block.evaluations == evaluations * stages


def test_every_axis_can_be_replaced_on_a_trained_block() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)))
    before = block(states())
    block.stepping = FixedSteps(RK4(), per_piece=4)
    finer = block(states())
    block.stepping = Adaptive("dopri5", 1e-6, 1e-6)
    torch.testing.assert_close(block(states()), finer, rtol=1e-4, atol=1e-4)
    block.gradient = ContinuousAdjoint()
    block(states()).sum().backward()
    block.stepping, block.gradient = FixedSteps(Euler()), Backprop()
    assert torch.equal(block(states()), before)


def test_state_dicts_depend_only_on_theta_and_can_be_loaded_again() -> None:
    block = ODEBlock(PiecewiseConstant([BasicBranch(2) for _ in range(2)]))
    block(torch.randn(4, 2, 4, 4))
    other = ODEBlock(PiecewiseConstant([BasicBranch(2) for _ in range(2)]), FixedSteps(RK4(), 3), ContinuousAdjoint())
    other.load_state_dict(block.state_dict())
    other.stepping, other.gradient = block.stepping, block.gradient
    x = torch.randn(4, 2, 4, 4)
    assert torch.equal(block.eval()(x), other.eval()(x))


@pytest.mark.parametrize(
    "block",
    [
        ODEBlock(PiecewiseConstant([BasicBranch(2, activation="post")], horizon=0.3), projection=torch.relu),
        ODEBlock(PiecewiseLinear([BasicBranch(2), BasicBranch(2)]), FixedSteps(Midpoint(), 2)),
        ODEBlock(Constant(BasicBranch(2)), Adaptive("dopri5", 1e-2, 1e-3, 99), ContinuousAdjoint(rtol=0.1)),
    ],
    ids=["projected", "linear", "adaptive"],
)
def test_a_block_survives_a_copy_and_a_pickle_with_all_its_settings(block: ODEBlock) -> None:
    block.eval()
    x = torch.randn(2, 2, 4, 4)
    expected = block(x)
    for again in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(again(x), expected)
        assert repr(again) == repr(block)
        assert again.theta.horizon == block.theta.horizon
        assert not {id(p) for p in again.parameters()} & {id(p) for p in block.parameters()}


def test_a_block_shows_its_settings() -> None:
    shown = repr(ODEBlock(Constant(Autonomous(nn.Identity())), FixedSteps(Heun(), 2), projection=None))
    assert "stepping=FixedSteps(Heun(), per_piece=2), gradient=Backprop(), projection=None" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"theta": BasicBranch(2)}, r"given a BasicBranch as θ; .* wrap branches in Constant\(branch\) or Piecewise"),
        ({"theta": [BasicBranch(2)]}, "given a list as θ"),
        ({"stepping": Euler()}, r"stepping = Euler\(\); pass a Stepping, e\.g\. FixedSteps\(RK4\(\)\)"),
        ({"stepping": "dopri5"}, r"stepping = 'dopri5'; pass a Stepping, e\.g\. .* or Adaptive\('dopri5'\)"),
        ({"gradient": "adjoint"}, r"gradient = 'adjoint'; pass a GradientMethod, e\.g\. Backprop\(\)"),
        ({"gradient": Backprop}, r"pass a GradientMethod"),
    ],
    ids=str,
)
def test_an_argument_of_the_wrong_kind_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ODEBlock(**{"theta": Constant(BasicBranch(2)), **arguments})


def test_an_assignment_of_the_wrong_kind_is_refused_and_changes_nothing() -> None:
    block = ODEBlock(Constant(BasicBranch(2)), FixedSteps(RK4()))
    wrong: Any = RK4()
    with pytest.raises(TypeError, match="pass a Stepping"):
        block.stepping = wrong
    with pytest.raises(TypeError, match="pass a GradientMethod"):
        block.gradient = wrong
    assert (block.stepping, repr(block.gradient)) == (FixedSteps(RK4()), "Backprop()")


def test_a_block_works_under_vmap() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)))
    x = torch.stack([states(), 1 - states()])
    torch.testing.assert_close(torch.vmap(block)(x), torch.stack([block(x[0]), block(x[1])]))


# Compilation


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("projection", [None, torch.relu], ids=["free", "projected"])
def test_a_compiled_stage_gives_the_same_numbers_statistics_and_gradients(training: bool, projection: Any) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    activation = "pre" if projection is None else "post"
    branches = [BasicBranch(2, activation=activation) for _ in range(2)]
    block = ODEBlock(PiecewiseConstant(branches), projection=projection).train(training)
    reference, graphs = copy.deepcopy(block), Graphs()
    compiled = torch.compile(block, fullgraph=True, backend=graphs)
    x = torch.randn(3, 2, 4, 4)
    for _ in range(2):
        block.evaluations = 0
        torch.testing.assert_close(compiled(x), reference(x))
        assert (graphs.count, block.evaluations) == (1, 2)
    compiled(x).square().sum().backward()
    reference(x).square().sum().backward()
    for ours, theirs in zip(block.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(block.state_dict(), reference.state_dict())


def test_a_stage_compiles_to_machine_code() -> None:
    torch.compiler.reset()
    block = ODEBlock(Constant(Autonomous(nn.Tanh())), FixedSteps(Midpoint(), 2))
    x = torch.randn(8, 3)
    torch.testing.assert_close(torch.compile(block, fullgraph=True)(x), block(x))
    assert block.evaluations == 4


def test_blocks_are_named_after_their_place() -> None:
    branches = [BasicBranch(2) for _ in range(2)]
    model = nn.Sequential(ODEBlock(Constant(branches[0])), nn.Sequential(nn.ReLU(), ODEBlock(Constant(branches[1]))))
    label_blocks(model)
    assert [m.label for m in model.modules() if isinstance(m, ODEBlock)] == ["block '0'", "block '1.1'"]
    label_blocks(model[0])
    assert model[0].label == "ODEBlock"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((torch.ones(2, 2), torch.ones(2, 2)), r"a tuple .*: join the tensors into one, e\.g\. torch\.cat"),
        ([torch.ones(2, 2)], r"a list .*: join the tensors into one"),
        ({"x": torch.ones(2, 2)}, r"a dict .*: join the tensors into one"),
        (torch.ones(2, 2).numpy(), r"a ndarray .*: pass a torch\.Tensor, such as torch\.as_tensor\(x\)"),
        (None, r"a NoneType .*: pass a torch\.Tensor"),
        (torch.ones(2, 2, dtype=torch.int64), r"a state of torch\.int64; .*: pass x\.float\(\)"),
        (torch.ones(2, 2, dtype=torch.bool), r"a state of torch\.bool"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("stepping", [FixedSteps(), Adaptive(), Adaptive(per_sample=True)], ids=repr)
def test_a_state_that_is_not_a_floating_point_or_complex_tensor_is_refused(
    state: Any, message: str, stepping: Stepping
) -> None:
    with pytest.raises(TypeError, match=f"ODEBlock was given {message}"):
        ODEBlock(Constant(MLPBranch(2)), stepping)(state)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("noise", nn.Dropout(0.5), TypeError),
        ("noise", nn.Parameter(torch.ones(1)), TypeError),
        ("stepping", nn.Identity(), TypeError),
        ("gradient", nn.Identity(), TypeError),
        ("compiled", nn.Identity(), TypeError),
        ("theta", nn.Identity(), TypeError),
        ("theta", None, TypeError),
        ("projection", 3, TypeError),
    ],
    ids=str,
)
def test_every_setting_is_checked_whatever_is_assigned(name: str, value: object, error: type[Exception]) -> None:
    block = ODEBlock(Constant(MLPBranch(2)))
    before, shown = getattr(block, name), str(block)
    with pytest.raises(error, match=name if name != "theta" else "as θ"):
        setattr(block, name, value)
    assert getattr(block, name) is before
    assert str(block) == shown


def test_modules_and_parameters_cannot_bypass_the_setter_of_a_property() -> None:
    block = ODEBlock(Constant(MLPBranch(2)))
    for owner in (block, block.theta):
        for kind in type(owner).__mro__:
            for name, attribute in vars(kind).items():
                if isinstance(attribute, property) and attribute.fset is not None:
                    for value in (nn.Identity(), nn.Parameter(torch.ones(2))):
                        with pytest.raises((TypeError, ValueError), match=name):
                            setattr(owner, name, value)


def test_a_projection_that_does_not_fit_the_block_is_refused_on_assignment() -> None:
    block = ODEBlock(Constant(MLPBranch(2)), FixedSteps(), Reversible())
    with pytest.raises(ValueError, match="a projection cannot be undone: use Checkpointed"):
        block.projection = torch.relu
    assert block.projection is None


def test_a_theta_that_does_not_fit_the_noise_is_refused_on_assignment() -> None:
    block = ODEBlock(PiecewiseConstant([MLPBranch(2)] * 2), noise=StochasticDepth([1.0, 0.5]))
    with pytest.raises(ValueError, match="2 survival probabilities were given for 3 pieces"):
        block.theta = PiecewiseConstant([MLPBranch(2)] * 3)


def test_a_projection_may_be_replaced_by_a_module_or_a_function() -> None:
    block = ODEBlock(Constant(MLPBranch(2)), projection=nn.ReLU())
    block.projection = torch.relu
    assert "relu" not in str(list(block.children()))
    block.projection = nn.ReLU()
    assert (block(torch.randn(3, 2)) >= 0).all()


class Overwriting(nn.Module):
    """x′ = W·relu(x) with a ReLU that overwrites its state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, t: object, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.relu_(x))


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Reversible(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize("wanted", [True, False])
def test_a_branch_that_overwrites_its_state_is_refused(gradient: GradientMethod, wanted: bool) -> None:
    block = ODEBlock(Constant(Overwriting()), gradient=gradient)
    with pytest.raises(ValueError, match=r"changed its state x in place.*: let the first layer work on a copy"):
        block(torch.randn(3, 2, requires_grad=wanted))


def test_a_branch_receives_a_copy_if_tensors_have_no_version_counter() -> None:
    branch, x = Overwriting(), torch.randn(3, 2)
    expected = x + branch.layer(torch.relu(x))
    block = ODEBlock(Constant(branch))
    with torch.inference_mode():
        inferred = x.clone()
        torch.testing.assert_close(block(inferred), expected)
        assert torch.equal(inferred, x)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    own = x.clone()
    torch.testing.assert_close(compiled(own), expected)
    assert torch.equal(own, x)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Reversible(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize(
    "stepping", [FixedSteps(RK4()), Adaptive(), Adaptive("rk4"), Adaptive(per_sample=True)], ids=repr
)
def test_the_output_of_a_block_may_be_changed_in_place(stepping: Stepping, gradient: GradientMethod) -> None:
    torch.manual_seed(0)
    branch, x = MLPBranch(2).double(), torch.randn(3, 2, dtype=torch.float64)
    try:
        block = ODEBlock(Constant(branch), stepping, gradient)
    except ValueError:
        block = ODEBlock(Constant(branch), FixedSteps(RK4()), gradient)
    found = []
    for relu in (nn.ReLU(inplace=True), nn.ReLU()):
        y = relu(block(x).mul(2) if not relu.inplace else block(x).mul_(2))
        found.append(torch.autograd.grad(y.square().sum(), list(block.parameters())))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_a_block_that_does_not_move_its_state_returns_a_new_tensor() -> None:
    x = torch.ones(0, 2)
    assert ODEBlock(Constant(MLPBranch(2)), Adaptive(per_sample=True))(x) is not x


def test_a_block_is_one_module_to_torch_fx() -> None:
    net = nn.Sequential(nn.Linear(2, 2), ODEBlock(Constant(MLPBranch(2)), Adaptive()))
    traced = torch.fx.symbolic_trace(net)
    assert [str(node.target) for node in traced.graph.nodes if node.op == "call_module"] == ["0", "1"]
    x = torch.randn(3, 2)
    assert torch.equal(traced(x), net(x))


def test_a_complex_nan_is_not_finite() -> None:
    x = torch.full((2, 2), complex("nan"), dtype=torch.complex64)
    with pytest.raises(NonFiniteState, match="NaN"):
        ODEBlock(Constant(Autonomous(nn.Identity())))(x)
