"""`recalibrate` collects what `update_bn` does, for each evaluation of a solve, or leaves the network as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from odenet import (
    RK4,
    Adaptive,
    BasicBranch,
    ClassicalRK4,
    Constant,
    Coupled,
    Euler,
    FixedSteps,
    Heun,
    Midpoint,
    ODEBlock,
    PiecewiseConstant,
    StatisticsWarning,
    configure,
    group_norm,
    recalibrate,
)
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.theta.base import Time
from odenet.data import Batches, Split
from odenet.models import resnet20
from odenet.training import load_model, save_model, save_weights
from tests import recalibration_processes as processes

GAMMA, BETA, WEIGHT = 0.7, -0.4, 1.5


class Affine(nn.Module):
    """F(t, x) = γ·norm(w·x) + β, under which mean and standard deviation of the states are linear in t."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, eps=1e-12).double()
        nn.init.constant_(self.norm.weight, GAMMA)
        nn.init.constant_(self.norm.bias, BETA)

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.norm(WEIGHT * x)


def images(number: int = 4, channels: int = 1) -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    return [2 * torch.randn(8, channels, 16, 16, generator=source) + 1 for _ in range(number)]


def net(stepping: Stepping | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = resnet20(num_classes=3, in_channels=1, widths=(2, 4, 4)).eval()
    if stepping is not None:
        configure(model, stepping=stepping)
    return model


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that a recalibration might change."""
    modes = {name: (m.training, getattr(m, "momentum", None), m._buffers) for name, m in model.named_modules()}
    ids = {name: (*rest, {k: id(v) for k, v in buffers.items()}) for name, (*rest, buffers) in modes.items()}
    return {"modes": ids} | {name: tensor.clone() for name, tensor in model.state_dict().items()}


def require_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]


def test_with_one_evaluation_a_piece_it_is_update_bn_bit_for_bit() -> None:
    ours, theirs = net(), net().train()
    update_bn([(x, torch.zeros(8)) for x in images()], theirs)
    recalibrate(ours, [(x, torch.zeros(8)) for x in images()])
    expected, found = theirs.state_dict(), ours.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(ours(images()[0]), theirs.eval()(images()[0]))


def test_outside_of_flows_it_is_update_bn_under_any_stepping() -> None:
    ours, theirs = net(FixedSteps(RK4())), net().train()
    update_bn(images(), theirs)
    recalibrate(ours, images())
    assert torch.equal(ours.get_buffer("stem.norm.running_mean"), theirs.get_buffer("stem.norm.running_mean"))


@pytest.mark.parametrize(
    "stepping",
    [
        FixedSteps(Euler(), per_piece=4),
        FixedSteps(Midpoint()),
        FixedSteps(RK4(), per_piece=2),
        FixedSteps(ClassicalRK4()),
        FixedSteps(Coupled(Heun(), coupling=0.9)),
        Adaptive("dopri5", rtol=1e-7, atol=1e-7),
        Adaptive("bosh3", rtol=1e-7, atol=1e-7, per_sample=True),
    ],
    ids=str,
)
def test_statistics_of_a_linear_branch_have_their_closed_form(stepping: Stepping) -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    block = ODEBlock(PiecewiseConstant([Affine(), Affine()], horizon=1.5), stepping).eval()
    recalibrate(block, [x])
    assert block.statistics is not None
    m0, s0, unbiased = x.mean(0), x.std(0, correction=0), 50 / 49
    for table, times in zip(block.statistics.tables, block.statistics.times, strict=True):
        t = 1.5 * torch.tensor(times, dtype=torch.float64)[:, None]
        mean, var = table["norm"]
        torch.testing.assert_close(mean, WEIGHT * (m0 + BETA * t), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(var, unbiased * (WEIGHT * (s0 + GAMMA * t)) ** 2, rtol=1e-9, atol=1e-9)
    exact = (x - m0) / s0 * (s0 + GAMMA * 1.5) + m0 + BETA * 1.5
    assert (block(x) - exact).norm() < 0.02 * exact.norm()


def test_statistics_of_several_batches_are_means_of_theirs() -> None:
    batches = [torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    block = ODEBlock(Constant(Affine()), FixedSteps(Euler(), per_piece=2)).eval()
    recalibrate(block, iter(batches))
    means = torch.stack([WEIGHT * (x.mean(0) + BETA / 2) for x in batches]).mean(0)
    assert block.statistics is not None
    torch.testing.assert_close(block.statistics.tables[0]["norm"][0][1], means)


def test_a_shared_node_has_statistics_for_each_of_its_pieces() -> None:
    node, x = Affine(), torch.randn(20, 3, dtype=torch.float64)
    block = ODEBlock(PiecewiseConstant([node, node])).eval()
    recalibrate(block, [x])
    assert block.statistics is not None
    (first, _), (second, _) = (table["norm"] for table in block.statistics.tables)
    torch.testing.assert_close(second - first, torch.full((1, 3), WEIGHT * BETA, dtype=torch.float64))


def test_batches_of_the_library_are_taken() -> None:
    split = Split(torch.randint(0, 256, (12, 1, 16, 16), dtype=torch.uint8), torch.arange(12) % 3)
    batches = Batches(split, 4, mean=[0.5], std=[0.5])
    ours, again = net(FixedSteps(RK4())), net(FixedSteps(RK4()))
    recalibrate(ours, batches)
    recalibrate(again, list(batches.epoch(0)))
    require_same({k: v for k, v in state(ours).items() if k != "modes"}, again.state_dict())


def test_it_repeats_its_results_and_draws_no_numbers() -> None:
    model = net(FixedSteps(Heun()))
    torch.manual_seed(0)
    recalibrate(model, images())
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))
    first = {name: value.clone() for name, value in model.state_dict().items()}
    recalibrate(model, images())
    require_same(first, model.state_dict())


@pytest.mark.parametrize("stepping", [FixedSteps(RK4()), Adaptive("dopri5", 1e-3, 1e-3)], ids=str)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_network_keeps_its_modes_and_momenta(stepping: Stepping, compiled: bool) -> None:
    model = net(stepping)
    configure(model, compile=compiled)
    before = state(model)["modes"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recalibrate(model, images(1))
    assert {name: value for name, value in state(model)["modes"].items() if name in before} == before


class Interrupted(BaseException):
    pass


def _interrupted(error: BaseException) -> Iterator[Tensor]:
    yield from images(2)
    raise error


class DrawsSteps(FixedSteps):
    """Another number of steps for each pass."""

    def integrate(self, *arguments: Any, **options: Any) -> Tensor:
        self.per_piece += 1
        return super().integrate(*arguments, **options)


BAD: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "none": (list, ValueError, "was given no batches, .*: pass at least one"),
    "an iterator that was used": (lambda: iter([]), ValueError, "was given no batches"),
    "other channels": (
        lambda: images(channels=3),
        ValueError,
        r"of shape \(8, 3, 16, 16\) .*: pass batches like",
    ),
    "integers": (lambda: [x.long() for x in images()], ValueError, r"and torch.int64, which ResNet cannot take"),
    "other channels later": (lambda: [*images(), *images(1, 3)], ValueError, "cannot take .*: pass batches like those"),
    "one tensor": (lambda: images()[0], TypeError, r"given a Tensor as batches; .*: pass a data loader, or a list"),
    "no iterable": (lambda: 3, TypeError, "given a int as batches, which has none: pass a data loader"),
    "dictionaries": (
        lambda: [{"x": images()[0]}],
        TypeError,
        r"batches\[0\] .* is a dict without .*: pass tensors",
    ),
    "empty tuples": (lambda: [*images(1), ()], TypeError, r"batches\[1\] .* is a tuple without a tensor"),
    "interrupted": (lambda: _interrupted(Interrupted()), Interrupted, ""),
    "interrupted by keyboard": (lambda: _interrupted(KeyboardInterrupt()), KeyboardInterrupt, ""),
    "failing": (lambda: _interrupted(OSError("a disk")), OSError, "a disk"),
    "not finite": (lambda: [images()[0] * torch.inf], (ArithmeticError, ValueError), "not finite|NaN"),
}


@pytest.mark.parametrize("stepping", [FixedSteps(Euler()), FixedSteps(RK4()), Adaptive("dopri5", 1e-2, 1e-2)], ids=str)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("has_statistics", [False, True])
def test_bad_batches_are_refused_and_the_network_is_unchanged(
    case: str, stepping: Stepping, has_statistics: bool
) -> None:
    model = net(stepping)
    if has_statistics:
        recalibrate(model, images(1))
    before, (batches, error, message) = state(model), BAD[case]
    with pytest.raises(error, match=message):
        recalibrate(model, batches())
    require_same(before, state(model))
    with pytest.raises(error, match=message), configure(model, stepping=FixedSteps(Midpoint()), recalibrate=batches()):
        pass
    require_same(before, state(model))
    assert next(m for m in model.modules() if isinstance(m, ODEBlock)).stepping == stepping


def test_an_error_in_the_middle_of_a_solve_leaves_the_network_unchanged() -> None:
    model, calls = net(FixedSteps(RK4())), []

    def interrupt(*_: object) -> None:
        calls.append(1)
        if len(calls) == 7:
            raise Interrupted

    hooked = next(m for m in model.modules() if isinstance(m, BasicBranch))
    handle = hooked.register_forward_hook(interrupt)
    before = state(model)
    with pytest.raises(Interrupted):
        recalibrate(model, images())
    handle.remove()
    require_same(before, state(model))
    assert torch.isfinite(model(images()[0])).all()


def test_a_network_in_training_mode_is_refused() -> None:
    model = net().train()
    before = state(model)
    with pytest.raises(ValueError, match=r"given a ResNet in training mode, .*: call net.eval\(\) first"):
        recalibrate(model, images())
    require_same(before, state(model))


def test_a_network_without_batch_normalization_is_refused() -> None:
    for model in (nn.Linear(2, 2), ODEBlock(Constant(BasicBranch(2, norm=group_norm)))):
        with pytest.raises(ValueError, match=r"without a batch normalization .*: leave it out for GroupNorm"):
            recalibrate(model.eval(), images())


def test_what_is_no_network_is_refused() -> None:
    wrong: Any = "net"
    with pytest.raises(TypeError, match="given a str as net; it takes a module: pass a network"):
        recalibrate(wrong, images())


def test_a_stepping_that_makes_other_evaluations_for_each_batch_is_refused() -> None:
    block = ODEBlock(Constant(BasicBranch(1)), DrawsSteps()).eval()
    with pytest.raises(ValueError, match="makes another number of evaluations for each batch"):
        recalibrate(block, images())
    assert block.statistics is None


def test_configure_recalibrates_and_puts_stepping_and_statistics_back() -> None:
    model, x = net(), images()[0]
    recalibrate(model, images())
    before, expected = state(model), model(x)
    with configure(model, stepping=FixedSteps(RK4()), recalibrate=images()), warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = model(x)
    require_same(before, state(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(model(x), expected)
    configure(model, stepping=FixedSteps(RK4()), recalibrate=images())
    assert torch.equal(model(x), inside)


def test_configure_puts_the_statistics_of_another_stepping_back() -> None:
    model, x = net(FixedSteps(Heun())), images()[0]
    recalibrate(model, images())
    expected = model(x)
    with configure(model, recalibrate=images(2)):
        assert not torch.equal(model(x), expected)
    assert torch.equal(model(x), expected)


def test_without_recalibration_the_result_of_another_stepping_is_warned_of() -> None:
    model = net()
    recalibrate(model, images())
    with configure(model, stepping=FixedSteps(RK4())), pytest.warns(StatisticsWarning, match="stages.0.flow"):
        model(images()[0])


@pytest.mark.parametrize("stepping", [FixedSteps(Euler()), FixedSteps(RK4()), Adaptive("dopri5", 1e-2, 1e-2)], ids=str)
def test_a_saved_model_has_them(stepping: Stepping, tmp_path: Path) -> None:
    model, x = net(stepping), images()[0]
    recalibrate(model, images())
    save_model(model, tmp_path / "net", partial(resnet20, num_classes=3, in_channels=1, widths=(2, 4, 4)))
    again = load_model(tmp_path / "net")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(again(x), model(x))
    save_weights(model, tmp_path / "weights")


def test_it_is_as_good_as_normalizing_by_the_batch_after_training() -> None:
    model, batches = net(FixedSteps(RK4())).train(), images(6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for x in batches * 2:
        loss = nn.functional.cross_entropy(model(x), (x.mean((1, 2, 3)) > 1).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    whole: Iterable[Tensor] = [torch.cat(batches)]
    model.eval()
    stale = model(torch.cat(batches))
    recalibrate(model, whole)
    found = model(torch.cat(batches))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.training = True
    configure(model, stepping=FixedSteps(RK4()))
    by_batch = model(torch.cat(batches))
    assert (found - by_batch).norm() < 0.01 * by_batch.norm()
    assert (stale - by_batch).norm() > 0.1 * by_batch.norm()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with what two processes left behind."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    folder = tmp_path_factory.mktemp("two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.recalibration_processes", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*torchrun, *program], cwd=Path(__file__).parents[1], capture_output=True, env=environment, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return folder


@pytest.mark.parametrize("name", processes.STEPPINGS)
def test_processes_get_the_mean_over_the_batches_of_all(name: str, two_processes: Path) -> None:
    one = processes.net(name)
    recalibrate(one, processes.batches(range(5)))
    first, second = (torch.load(two_processes / f"{name}-{rank}.pt") for rank in (0, 1))
    assert first.keys() == second.keys() == one.state_dict().keys()
    for key, value in one.state_dict().items():
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], value)


@pytest.mark.parametrize("name", processes.STEPPINGS)
def test_if_one_process_fails_all_refuse_and_are_unchanged(name: str, two_processes: Path) -> None:
    first, second = ((two_processes / f"{name}-{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("True recalibrate failed in 1 other processes")
    assert second.startswith("True recalibrate was given no batches")
