"""All packages in the benchmarks solve the same problems, and tables and figures follow from their seconds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.__main__ as command
from benchmarks import adaptive, fixed_steps, gradient_peers, networks, roofline, scaling
from benchmarks.command import Row, take
from benchmarks.peers import packages
from benchmarks.peers.diffrax_runs import DiffraxProcess
from benchmarks.peers.dynamics import VanDerPol, problem
from benchmarks.peers.solves import ADAPTIVE, EULER, euler_by_hand
from benchmarks.side_by_side import FEWEST, side_by_side
from odenet.training import Record, Run
from paper_figs import peers
from paper_figs.support.style import save

QUICK: dict[str, tuple[Any, Callable[[Any, Run], list[Row]]]] = {
    "adaptive": (adaptive.QUICK, adaptive.measure),
    "fixed_steps": (fixed_steps.QUICK, fixed_steps.measure),
    "gradient_peers": (gradient_peers.QUICK, gradient_peers.measure),
    "networks": (networks.QUICK, networks.measure),
    "roofline": (roofline.QUICK, roofline.measure),
    "scaling": (scaling.QUICK, scaling.measure),
}


@pytest.fixture(autouse=True)
def _uncompiled() -> Iterator[None]:
    """Run compiled code eagerly: the numbers are the same, and no test waits for a compiler."""
    threads = torch.get_num_threads()
    with torch.compiler.set_stance("force_eager"):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def quick_records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    folder = tmp_path_factory.mktemp("records")
    threads = torch.get_num_threads()
    with torch.compiler.set_stance("force_eager"):
        records = {
            name: take(name, settings, measure, folder / f"{name}.json") for name, (settings, measure) in QUICK.items()
        }
    torch.set_num_threads(threads)
    return records


def if_installed(contestants: Iterable[str]):
    """Return the contestants as parameters, each skipped if its package is not installed."""

    def marks(name: str) -> list[pytest.MarkDecorator]:
        return [pytest.mark.skip(reason=f"{missing} is not installed") for missing in packages.absent([name])]

    return [pytest.param(name, marks=marks(name)) for name in contestants]


@pytest.mark.parametrize("name", QUICK)
def test_the_quick_form_measures_every_row(quick_records: dict[str, Record], name: str):
    record = quick_records[name]
    assert record.finished
    assert record.summary["table"]
    for row in record.summary["table"]:
        assert list(row) == ["quantity", "goal", "measured", "beside it"]
        assert all(isinstance(value, str) and value for value in row.values())
        assert "nan" not in row["measured"]


def test_a_package_that_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in ("torchode", "diffrax") else object())
    contestants = dict.fromkeys(["loop", "odenet, compiled", "torchode", "torchode, compiled", "torchdyn", "diffrax"])
    assert list(packages.installed(contestants)) == ["loop", "odenet, compiled", "torchdyn"]
    assert packages.without(contestants) == "; torchode, diffrax not installed"
    assert packages.without(["loop", "torchdyn"]) == ""


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: object() if name == "torchdiffeq" else None)
    found = packages.versions()
    assert found.pop("torchdiffeq")
    assert set(found.values()) == {None}


def test_the_problem_is_the_same_each_time_and_leaves_the_generator_alone():
    before = torch.get_rng_state()
    first, second = (problem("MLP", 5, 1.0, torch.float32, "cpu") for _ in range(2))
    assert torch.equal(first.x, second.x)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, second.parameters, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_dynamics_are_refused_with_the_nearest_right_name():
    with pytest.raises(ValueError, match="unknown dynamics 'van der pol'; did you mean 'Van der Pol'"):
        problem("van der pol", 5, 1.0, torch.float32, "cpu")


def test_the_oscillator_is_that_of_van_der_pol():
    slope = VanDerPol(mu=3.0)(0.0, torch.tensor([[2.0, 0.5]]))
    assert torch.equal(slope, torch.tensor([[0.5, 3 * (1 - 4) * 0.5 - 2]]))


@pytest.mark.parametrize("name", if_installed(EULER))
def test_euler_steps_are_those_of_the_loop(name: str):
    posed = problem("MLP", 3, 1.0, torch.float64, "cpu")
    torch.testing.assert_close(EULER[name](posed, 20)(posed.x), euler_by_hand(posed, 20)(posed.x))


@pytest.mark.parametrize("name", if_installed(fixed_steps.stage_solves([])))
def test_a_stage_is_that_of_the_loop(name: str):
    torch.manual_seed(0)
    branches = [fixed_steps.BasicBranch(4).eval() for _ in range(3)]
    solves, x = fixed_steps.stage_solves(branches), torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(solves[name]()(x), solves["loop"]()(x))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_on_a_gpu_what_we_compile_is_launched_as_cuda_graphs_too(monkeypatch: pytest.MonkeyPatch, device: str):
    monkeypatch.setattr(fixed_steps, "device", lambda: device)
    solves = fixed_steps.with_cuda_graphs(
        {
            who: make()
            for who, make in packages.installed(fixed_steps.stage_solves([fixed_steps.BasicBranch(4)])).items()
        }
    )
    modes = [getattr(solve, "compiled", None) for solve in solves.values()]
    assert modes.count("reduce-overhead") == (device == "cuda")
    assert modes.count(True) == 1


@pytest.mark.parametrize("name", if_installed(ADAPTIVE))
@pytest.mark.parametrize("wanted", adaptive.PASSES)
def test_error_control_leads_to_the_reference(name: str, wanted: str):
    posed = problem("Van der Pol", 3, 2.0, torch.float64, "cpu")
    exact = adaptive.run_of(posed, adaptive.reference(posed), wanted)()
    found = adaptive.run_of(posed, ADAPTIVE[name](posed, 1e-8), wanted)()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", if_installed(gradient_peers.WAYS))
def test_ways_that_claim_exactness_have_the_gradient_of_the_steps_taken(quick_records: dict[str, Record], name: str):
    error = quick_records["gradient_peers"].results["all ways"]["ways"][name]["error"]
    if name == "torchdiffeq, odeint_adjoint":
        assert min(error.values()) > 1e-3, "the continuous adjoint of coarse steps is not that gradient"
    else:
        assert max(error.values()) < 1e-4


@pytest.mark.parametrize("method", ["euler", "scan", "dopri5"])
@pytest.mark.parametrize("name", if_installed(["diffrax"]))
def test_diffrax_solves_the_same_problem_in_its_own_process(name: str, method: str):
    posed = problem("MLP", 3, 1.0, torch.float64, "cpu")
    with DiffraxProcess() as process:
        run = process.solve(posed, method, 1e-8 if method == "dopri5" else 20, gradient=True)
        run()
    solve = adaptive.reference(posed) if method == "dopri5" else euler_by_hand(posed, 20)
    torch.testing.assert_close(run.answer, adaptive.run_of(posed, solve, "gradient")(), rtol=1e-6, atol=1e-6)
    assert min(run.seconds) > 0


def test_a_process_of_diffrax_that_ends_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with DiffraxProcess() as process, pytest.raises(RuntimeError, match=r"its process ended.*remove diffrax"):
        process.solve(problem("MLP", 3, 1.0, torch.float64, "cpu"), "euler", 5, gradient=False)


def test_a_budget_of_nothing_still_has_the_fewest_rounds():
    calls = {"a": 0, "b": 0}

    def count(name: str) -> None:
        calls[name] += 1

    seconds = side_by_side({"a": lambda: count("a"), "b": lambda: count("b")}, budget=0.0)
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": FEWEST, "b": FEWEST}
    assert calls == {"a": FEWEST + 1, "b": FEWEST + 1}


def test_a_contestant_in_another_process_is_timed_there():
    class Elsewhere:
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def __call__(self) -> None:
            self.seconds.append(100.0 + len(self.seconds))

    seconds = side_by_side({"here": lambda: None, "there": Elsewhere()}, budget=0.0)
    assert seconds["there"] == [101.0, 102.0, 103.0]  # the call before them warmed up
    assert max(seconds["here"]) < 100


def test_seconds_at_equal_error_lie_between_those_of_two_tolerances_and_never_beyond():
    errors, seconds = {"1e-4": 1e-3, "1e-6": 1e-5}, {"1e-4": [1.0, 1.0, 50.0], "1e-6": [4.0]}
    assert adaptive.seconds_at_error(1e-4, errors, seconds) == pytest.approx(2.0)
    assert adaptive.seconds_at_error(1e-9, errors, seconds) == pytest.approx(4.0)
    assert adaptive.seconds_at_error(1.0, errors, seconds) == pytest.approx(1.0)
    assert adaptive.seconds_at_error(0.0, errors | {"1e-6": 0.0}, seconds) == pytest.approx(4.0)


def test_a_row_of_equal_errors_has_the_peers_over_ours():
    errors = {"odenet": {"1e-06": 1e-5}, "torchdiffeq": {"1e-04": 1e-4, "1e-06": 1e-6}}
    seconds = {"odenet": {"1e-06": [0.01]}, "torchdiffeq": {"1e-04": [0.1], "1e-06": [0.4]}}
    row = adaptive.row("Van der Pol", 256, "forward", {"errors": errors, "seconds": seconds})
    assert row["measured"] == "torchdiffeq 20"
    assert row["goal"].startswith("torchdiffeq, torchode ≥ 20")
    assert row["beside it"].startswith("odenet 10 ms, error 1e-05 at 1e-06")


def test_traffic_is_what_operations_read_and_write_and_views_are_free():
    x = torch.zeros(10, 4)
    with roofline.Traffic() as traffic:
        _ = x.t().exp()
    assert traffic.bytes == 2 * x.nbytes


def test_exponents_are_read_off_the_last_three_sizes():
    assert scaling.exponent({"1": 7.0, "2": 4.0, "4": 16.0, "8": 64.0}) == pytest.approx(2.0)


def test_processes_are_compared_by_images_a_second():
    (row,) = scaling.process_rows({"seconds": {"1": [1.0], "2": [1.25]}})
    assert row["measured"] == "1.60"


def test_processes_that_fail_are_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="1 processes were started under torchrun and failed with exit status 1"):
        scaling.under_torchrun(scaling.QUICK)


def test_every_benchmark_is_found():
    assert {"core", "gradients", "scenes", "stochastic_depth", *QUICK} <= set(command.benchmarks())


def test_an_unknown_benchmark_is_refused_with_the_nearest_right_name():
    with pytest.raises(ValueError, match="unknown benchmark 'adaptiv'; did you mean 'adaptive'"):
        command.run(("adaptiv",))


def test_quick_leaves_out_what_has_no_quick_form(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    started: list[list[str]] = []
    monkeypatch.setattr(command.subprocess, "run", lambda words, **_: started.append(words))
    monkeypatch.setattr(command, "draw", lambda _: None)
    command.run(("core", "networks"), quick=True)
    assert [words[1:] for words in started] == [["-m", "benchmarks.networks", "--quick"]]
    assert "core has no quick form and is left out" in capsys.readouterr().out


def test_the_figure_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    command.draw(quick=True)
    assert "No figure: it needs runs/benchmarks/adaptive-quick" in capsys.readouterr().out


def test_the_figure_is_the_same_to_the_byte(quick_records: dict[str, Record], tmp_path: Path):
    drawn = []
    for name in ("first", "second"):
        command.gather(quick_records["adaptive"], quick_records["fixed_steps"], tmp_path / f"{name}.json")
        record = Record.load(tmp_path / f"{name}.json")
        drawn.append([file.read_bytes() for file in save(peers.draw(record), tmp_path / name)])
    assert drawn[0] == drawn[1]
