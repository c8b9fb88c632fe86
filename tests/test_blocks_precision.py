"""Error control computes in full precision, whatever autocast and the backends are set to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    Backprop,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    Reversible,
)
from odenet.blocks.precision import full_precision, lowered_precisions, set_precisions, to_float32
from odenet.measure import final_state, output_distance
from odenet.models import resnet20


@pytest.fixture
def lowered_products() -> Iterator[None]:
    """Let the CPU compute float32 products in bfloat16, as a GPU does in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


class PrecisionSpy(nn.Module):
    """Branch that records the precisions in which it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.precisions = MLPBranch(2), set[tuple[bool, bool]]()

    def forward(self, t: Any, x: Tensor) -> Tensor:
        self.precisions.add((torch.is_autocast_enabled("cpu"), bool(lowered_precisions("cpu"))))
        return self.branch(t, x)


@pytest.mark.usefixtures("lowered_products")
@pytest.mark.parametrize(
    ("stepping", "gradient"),
    [
        (Adaptive("dopri5", 1e-4, 1e-4), Backprop()),
        (Adaptive("dopri5", 1e-4, 1e-4), Checkpointed()),
        (Adaptive("dopri5", 1e-4, 1e-4), ContinuousAdjoint()),
        (Adaptive("dopri5", 1e-4, 1e-4, per_sample=True), Backprop()),
        (Adaptive("dopri5", 1e-4, 1e-4, per_sample=True), Checkpointed()),
        (Adaptive("dopri5", 1e-4, 1e-4, per_sample=True), Reversible()),
    ],
    ids=repr,
)
def test_a_branch_under_error_control_is_evaluated_in_full_precision_forwards_and_backwards(
    stepping: Any, gradient: Any
) -> None:
    torch.manual_seed(0)
    node = PrecisionSpy()
    block = ODEBlock(Constant(node), stepping, gradient)
    with torch.autocast("cpu", torch.bfloat16):
        y = block(torch.randn(3, 2, requires_grad=True))
    forwards, node.precisions = node.precisions, set()
    y.sum().backward()
    assert forwards == {(False, False)}
    assert node.precisions <= {(False, False)}
    assert torch.get_float32_matmul_precision() == "medium"
    assert lowered_precisions("cpu")


@pytest.mark.usefixtures("lowered_products")
@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Reversible()], ids=repr)
def test_fixed_steps_are_evaluated_in_the_precision_of_the_forward_pass_in_the_backward_pass_too(gradient: Any) -> None:
    node = PrecisionSpy()
    block = ODEBlock(Constant(node), FixedSteps(per_piece=4), gradient)
    with torch.autocast("cpu", torch.bfloat16):
        y = block(torch.randn(3, 2, requires_grad=True))
    with full_precision("cpu"):
        y.sum().backward()
    assert node.precisions == {(True, True)}


@pytest.mark.parametrize("per_sample", [False, True])
def test_error_control_takes_the_same_steps_with_and_without_autocast(per_sample: bool) -> None:
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(2)), Adaptive("dopri5", 1e-6, 1e-6, per_sample=per_sample))
    x = torch.randn(4, 2)
    expected, evaluations = block(x), block.evaluations
    with torch.autocast("cpu", torch.bfloat16):
        found = block(x)
        rounded = block(x.bfloat16())
    assert torch.equal(found, expected)
    assert block.evaluations <= 2 * evaluations
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, expected, rtol=0.05, atol=0.05)


@pytest.mark.usefixtures("lowered_products")
def test_precisions_are_restored_after_the_context_and_after_an_error() -> None:
    before = lowered_precisions("cpu")
    with full_precision("cpu"):
        assert lowered_precisions("cpu") == {}
        with set_precisions(before, "cpu"):
            assert lowered_precisions("cpu") == before
        assert lowered_precisions("cpu") == {}
    with pytest.raises(ZeroDivisionError), full_precision("cpu"):
        raise ZeroDivisionError
    assert lowered_precisions("cpu") == before
    assert "products" in before


def test_tf32_is_off_on_cuda_within_the_context_and_on_again_after_it() -> None:
    before, convolutions = lowered_precisions("cuda"), cast("Any", torch.backends.cudnn).conv
    with set_precisions({"products": "tf32", "convolutions": "tf32"}, "cuda"):
        assert torch.backends.cuda.matmul.fp32_precision == convolutions.fp32_precision == "tf32"
        with full_precision("cuda"):
            assert torch.backends.cuda.matmul.fp32_precision == convolutions.fp32_precision == "ieee"
            assert lowered_precisions("cuda") == {}
        assert torch.backends.cuda.matmul.fp32_precision == convolutions.fp32_precision == "tf32"
    assert lowered_precisions("cuda") == before


def test_a_state_is_widened_only_where_autocast_rounded_it() -> None:
    x = torch.ones(2, dtype=torch.bfloat16)
    assert to_float32(x) is x
    with torch.autocast("cpu", torch.bfloat16):
        assert to_float32(x).dtype == torch.float32
        assert to_float32(x.double()).dtype == torch.float64


def test_measures_of_errors_are_those_without_autocast() -> None:
    torch.manual_seed(0)
    net, other, x = resnet20(num_classes=3), resnet20(num_classes=3), torch.randn(2, 3, 8, 8)
    state, distance = final_state(net, x), output_distance(net, other, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(final_state(net, x), state)
        assert output_distance(net, other, x) == distance


@pytest.mark.gpu
def test_on_a_gpu_error_control_takes_the_same_steps_with_tf32_and_without() -> None:
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(256)), Adaptive("dopri5", 1e-6, 1e-6)).cuda()
    x = torch.randn(64, 256, device="cuda")
    evaluations = []
    for precision in ({}, {"products": "tf32"}):
        with set_precisions(precision, "cuda"), torch.no_grad():
            block(x)
        evaluations.append(block.evaluations)
    assert evaluations[0] == evaluations[1]
