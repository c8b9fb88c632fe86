"""Tensors that a branch captures get their gradients, or the branch is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    Backprop,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    Theta,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.replay.captures import Captures, ClosedNodes
from odenet.blocks.theta.base import Time
from tests.laws import states

METHODS: tuple[GradientMethod, ...] = (Checkpointed(), Reversible(), ContinuousAdjoint())
FINE = FixedSteps(RK4(), per_piece=16)


class Reader(nn.Module):
    """x′ = tanh(W·[x, z]) with a tensor z that is assigned to an attribute."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(2 + size, 2)
        self.z: Tensor | None = None

    def forward(self, t: Time, x: Tensor) -> Tensor:
        z = torch.zeros(len(x), self.layer.in_features - 2) if self.z is None else self.z
        return torch.tanh(self.layer(torch.cat([x, z.to(x.dtype).expand(len(x), -1)], dim=-1)))


def gradients(block: ODEBlock, x: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(block(x).square().sum(), leaves))


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("stepping", [FINE, Adaptive("dopri5", 1e-9, 1e-9)], ids=repr)
def test_an_encoder_is_trained_through_its_output(method: GradientMethod, stepping: Any) -> None:
    if isinstance(method, Reversible) and isinstance(stepping, Adaptive):
        stepping = Adaptive("dopri5", 1e-9, 1e-9, per_sample=True)
    torch.manual_seed(0)
    encoder, branch, u = nn.Linear(4, 2).double(), Reader().double(), torch.randn(3, 4, dtype=torch.float64)
    found = []
    for gradient in (method, Backprop()):
        block = ODEBlock(Constant(branch), stepping, gradient)
        branch.z = encoder(u)
        found.append(gradients(block, states(), [*encoder.parameters(), *branch.parameters()]))
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_all_but_the_captured_tensors_may_be_frozen(method: GradientMethod) -> None:
    branch = Reader().double().requires_grad_(False)
    found = []
    for gradient in (method, Backprop()):
        u = torch.ones(2, dtype=torch.float64, requires_grad=True)
        branch.z = u.sin()
        found.append(gradients(ODEBlock(Constant(branch), FINE, gradient), states(), [u])[0])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Reversible()], ids=repr)
def test_all_but_the_captured_tensors_may_be_frozen_per_sample(gradient: GradientMethod) -> None:
    branch = Reader().double().requires_grad_(False)
    found = []
    for stepping, method in ((Adaptive("dopri5", 1e-8, 1e-8, per_sample=True), gradient), (FINE, Backprop())):
        u = torch.ones(2, dtype=torch.float64, requires_grad=True)
        branch.z = u.sin()
        found.append(gradients(ODEBlock(Constant(branch), stepping, method), states(), [u])[0])
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_parameter_read_directly_and_through_a_captured_tensor_counts_once_on_each_path(
    method: GradientMethod,
) -> None:
    branch = Reader().double()
    found = []
    for gradient in (method, Backprop()):
        branch.z = branch.layer.weight.sum(0)[:2].sin()
        found.append(gradients(ODEBlock(Constant(branch), FINE, gradient), states(), list(branch.parameters())))
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", METHODS[:2], ids=repr)
def test_the_initial_state_may_be_captured(method: GradientMethod) -> None:
    branch = Reader().double()
    found = []
    for gradient in (method, Backprop()):
        x = states().requires_grad_()
        branch.z = x
        found.append(gradients(ODEBlock(Constant(branch), FINE, gradient), x, [x])[0])
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


def test_a_theta_may_compute_its_weights_by_a_hypernetwork() -> None:
    class Hyper(Theta):
        """A linear field whose matrix is computed from t by a hypernetwork that is not one of its nodes."""

        def __init__(self, node: nn.Module) -> None:
            super().__init__([node])
            self.hyper = nn.Linear(1, 4).double()

        @property
        def number_of_pieces(self) -> int:
            return 1

        def field_of_piece(self, index: int, start: float, end: float) -> Any:
            def field(t: Time, x: Tensor) -> Tensor:
                matrix = self.hyper(torch.as_tensor(t, dtype=x.dtype).reshape(1)).view(2, 2)
                return self.nodes[0](t, x @ matrix)

            return field, (self.nodes[0],)

    theta = Hyper(MLPBranch(2).double())
    found = [
        gradients(ODEBlock(theta, FINE, g), states(), list(theta.parameters())) for g in (Checkpointed(), Backprop())
    ]
    assert all(map(torch.equal, *found))


def test_replicas_whose_weights_are_no_parameters_are_trained() -> None:
    def flow(gradient: GradientMethod) -> list[Tensor]:
        torch.manual_seed(0)
        weights = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
        replica = Autonomous(nn.Linear(2, 2, bias=False)).double()
        del replica.module.weight
        replica.module.weight = weights * 1  # as in the replicas of DataParallel
        return gradients(
            ODEBlock(PiecewiseConstant([replica, MLPBranch(2).double()]), FINE, gradient), states(), [weights]
        )

    assert torch.equal(flow(Checkpointed())[0], flow(Backprop())[0])


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_tensor_that_is_read_only_at_some_times_is_refused(method: GradientMethod) -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.ones((), dtype=torch.float64))
            self.late = [torch.ones((), dtype=torch.float64, requires_grad=True)]

        def forward(self, t: Time, x: Tensor) -> Tensor:
            return x * (self.rate if t < 0.5 else self.rate + self.late[0])

    block = ODEBlock(Constant(Late()), FINE, method)
    with pytest.raises(
        RuntimeError, match=r"reads a tensor that it did not read .*first.*: its graph|use Backprop\(\)"
    ):
        block(states()).sum().backward()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_node_that_captures_a_tensor_later_is_refused_or_has_the_right_gradient(method: GradientMethod) -> None:
    branch = Reader().double()
    block = ODEBlock(Constant(branch), FINE, method)
    block(states()).sum().backward()
    u = torch.ones(2, dtype=torch.float64, requires_grad=True)
    branch.z = u.sin()
    with pytest.raises(RuntimeError, match=r"Let the branch read the same tensors .* or use Backprop"):
        block(states()).sum().backward()


def test_a_constant_that_becomes_a_parameter_is_detected() -> None:
    branch = Reader().double()
    branch.z = torch.ones(2, dtype=torch.float64)
    block = ODEBlock(Constant(branch), FINE, Checkpointed())
    block(states()).sum().backward()
    branch.z.requires_grad_()
    block(states()).sum().backward()
    assert branch.z.grad is not None


def test_a_captured_tensor_that_was_changed_since_is_refused() -> None:
    branch = Reader().double()
    u = torch.ones(2, dtype=torch.float64, requires_grad=True)
    branch.z = u * 1
    y = ODEBlock(Constant(branch), FINE, Checkpointed())(states()).sum()
    branch.z.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_module_in_training_mode_that_belongs_to_no_branch_is_refused(method: GradientMethod) -> None:
    norm = nn.BatchNorm1d(2).double()

    class Closure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2).double()

        def forward(self, t: Time, x: Tensor) -> Tensor:
            return self.layer(norm(x))

    block = ODEBlock(Constant(Closure()), FINE, method)
    with pytest.raises(
        ValueError, match=r"calls a BatchNorm1d in training mode .*: make it an attribute of the branch"
    ):
        block(states())
    norm.eval()
    block(states()).sum().backward()


def test_a_tensor_that_is_changed_without_being_a_buffer_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate, self.count = nn.Parameter(torch.ones(2, dtype=torch.float64)), torch.zeros(1)

        def forward(self, t: Time, x: Tensor) -> Tensor:
            self.count.add_(1)
            return self.rate * x

    block = ODEBlock(Constant(Counting()), FINE, Checkpointed())
    with pytest.raises(ValueError, match=r"changed a tensor of shape \(1,\) in place .*: register it as a buffer"):
        block(states())


def test_a_captured_tensor_that_is_no_argument_of_an_operation_is_refused() -> None:
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, z: Tensor) -> Tensor:  # noqa: ARG004
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:  # noqa: ARG004
            return gradients[0], gradients[0].sum(0)

    z = torch.ones(2, dtype=torch.float64, requires_grad=True) * 1
    block = ODEBlock(Constant(Autonomous(Apply(lambda x: Hidden.apply(x, z)))), FINE, Checkpointed())
    with pytest.raises(ValueError, match=r"reads a tensor that MulBackward0 made outside of it .*: assign the tensor"):
        block(states().requires_grad_())


class Apply(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_a_branch_that_captures_nothing_is_examined_once_in_each_mode() -> None:
    closed, branch = ClosedNodes(), MLPBranch(2)
    (piece,) = Constant(branch).pieces()
    assert Captures(closed, "a block").may_be_read_on(piece)
    Captures(closed, "a block").first_evaluation(piece, 0.0, torch.ones(1, 2))
    assert not Captures(closed, "a block").may_be_read_on(piece)
    branch.eval()
    assert Captures(closed, "a block").may_be_read_on(piece)


def test_knowledge_about_nodes_is_not_copied_with_the_block() -> None:
    closed, node = ClosedNodes(), MLPBranch(2)
    closed.add([node])
    assert (node,) in closed
    for again in (copy.deepcopy(closed), pickle.loads(pickle.dumps(closed))):
        assert (node,) not in again


def test_second_derivatives_count_each_path_once() -> None:
    layer = nn.Linear(4, 2).double()

    def twice(x: Tensor, *_: Tensor) -> Tensor:
        branch = Reader()
        branch.layer, branch.z = layer, (x * layer.weight.sum()).sin()
        block = ODEBlock(Constant(branch), FixedSteps(RK4()), Checkpointed())
        return block(block(x))  # the initial state of the second solve depends on the same parameters

    inputs = states(2).requires_grad_(), *layer.parameters()
    assert torch.autograd.gradcheck(twice, inputs)
    assert torch.autograd.gradgradcheck(twice, inputs)
