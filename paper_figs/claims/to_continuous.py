"""Claims on the way from ResNet to ODE-Net, checked on the record of `to_continuous`."""

from __future__ import annotations

from statistics import correlation, fmean, median
from typing import Any

from experiments.support.statistics import over_seeds, spread
from experiments.to_continuous import GPU_SECONDS
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, percent, percentages, quotients
from paper_figs.claims.verdict import Exact, above, below, ratio, student, within
from paper_figs.claims.verdict import correlation as correlation_interval

RECORD = "to_continuous/cpu-fashion-mnist.json"
PUBLISHED = "Chen et al. 2018"
BUDGET = f"preset gpu, 5 seeds of {GPU_SECONDS} s"


def _parameters(record: Record, name: str) -> int:
    return over_seeds(record.results, name, "parameters")[0]


def _bytes(record: Record) -> float:
    """Return the memory of the ODE-Net's flow in training over that of the ResNet's."""
    costs = record.results["costs"]["flow_bytes"]
    return costs["ode_net"] / costs["res_net"]


def _times(record: Record, name: str) -> list[float]:
    """Return the time of a training step over the ResNet's, for each of the interleaved rounds."""
    costs = record.results["costs"]["seconds"]
    return [a / b for a, b in zip(costs[name], costs["res_net"], strict=True)]


def _at_tolerances(record: Record, entry: str, name: str = "ode_net") -> list[list[Any]]:
    """Return `entry` at each tolerance, in the order of the settings, as lists over seeds."""
    per_seed = over_seeds(record.results, f"{name}/tolerances", "rows")
    return [[row[entry] for row in rows] for rows in zip(*per_seed, strict=True)]


def _growth(record: Record, method: str) -> float:
    """Return the flow's memory at the smallest tolerance divided by its memory at the largest."""
    megabytes = [fmean(sizes[method] for sizes in row) for row in _at_tolerances(record, "flow_bytes")]
    return megabytes[-1] / megabytes[0]


def _falls(record: Record) -> list[float]:
    """Return the numerical error at the largest tolerance over that at the smallest, for each seed."""
    first, *_, last = _at_tolerances(record, "numerical_error")
    return quotients(zip(first, last, strict=True))


def _errors_at_ends(record: Record) -> tuple[float, float]:
    """Return the numerical errors at the largest and at the smallest tolerance."""
    errors = [fmean(row) for row in _at_tolerances(record, "numerical_error")]
    return errors[0], errors[-1]


def _backwards(record: Record, name: str = "ode_net") -> list[float]:
    """Return the evaluations in backward passes over those in forward passes of a whole training, for each seed."""
    counts = over_seeds(record.results, name, "evaluations")
    return [fmean(e["backward"]) / fmean(e["forward"]) for e in counts]


def _growing(record: Record) -> list[float]:
    """Return the evaluations in the last epoch over those in the first, for each seed."""
    counts = over_seeds(record.results, "ode_net", "evaluations")
    return [e["forward"][-1] / e["forward"][0] for e in counts]


def _in_training(record: Record, epoch: int) -> float:
    """Return the evaluations in the forward pass of a training step of an epoch."""
    return fmean(evaluations["forward"][epoch] for evaluations in over_seeds(record.results, "ode_net", "evaluations"))


def _correlation(record: Record) -> float:
    """Return the correlation of forward evaluations with seconds, from means over seeds at each tolerance."""
    return correlation(*_evaluations_and_seconds(record))


def _evaluations_and_seconds(record: Record) -> tuple[list[float], list[float]]:
    """Return means over seeds at each tolerance."""
    x = [fmean(row) for row in _at_tolerances(record, "forward")]
    return x, [fmean(row) for row in _at_tolerances(record, "seconds_forward")]


def _moved(record: Record) -> list[float]:
    """Return the largest change of the test error between tolerances, in points, for each trained ODE-Net."""
    rows = [
        rows for name in _all_trained_at(record) for rows in over_seeds(record.results, f"{name}/tolerances", "rows")
    ]
    errors = [[100 * row["test_error"] for row in net] for net in rows]
    return [max(net) - min(net) for net in errors]


def _trained_at(record: Record) -> dict[str, float]:
    """Return the test error of the first seed's ODE-Net in percent, by the tolerance of its training."""
    first, own = f"seed{record.settings['seeds'][0]}", record.settings["tolerance"]
    names = {f"{own:g}": "ode_net"} | {f"{t:g}": f"ode_net@{t:g}" for t in record.settings["training_tolerances"]}
    return {t: 100 * record.results[f"{first}/{name}"]["test_error"] for t, name in names.items()}


def _against_own(record: Record, first: bool) -> list[float]:
    """Return the points of error, for each seed, of training at the first or last tolerance instead of the usual."""
    tolerance = record.settings["training_tolerances"][0 if first else -1]
    return differences(f"ode_net@{tolerance:g}", "ode_net", "test_error")(record)


def _flow_is_idle(record: Record) -> str:
    """Return why a comparison of flows says nothing, where the ResNet's is not known to be better than none."""
    gain = student(differences("no_flow", "res_net", "test_error"))(record)
    return "the ResNet's flow is not known to gain anything over none" if gain is None or gain.low <= 0 else ""


def _all_trained_at(record: Record) -> list[str]:
    return ["ode_net", *(f"ode_net@{tolerance:g}" for tolerance in record.settings["training_tolerances"])]


CLAIMS = [
    Claim(
        "The ODE-Net is as accurate as the ResNet with less than half the parameters (at most a point more)",
        f"0.42 % with 0.22 M against 0.41 % with 0.60 M, MNIST ({PUBLISHED}, table 1)",
        RECORD,
        lambda r: (
            f"{spread(percent(r, 'ode_net', 'test_error'))} % with {_parameters(r, 'ode_net'):,} against "
            f"{spread(percent(r, 'res_net', 'test_error'))} % with {_parameters(r, 'res_net'):,}"
        ),
        (
            below(student(differences("ode_net", "res_net", "test_error")), 1, "points"),
            Exact(lambda r: 2 * _parameters(r, "ode_net") < _parameters(r, "res_net"), "count"),
        ),
        lacks=_flow_is_idle,
        gpu=BUDGET,
    ),
    Claim(
        "So is the RK-Net, with four evaluations a step and backpropagation",
        f"0.47 %, MNIST ({PUBLISHED}, table 1)",
        RECORD,
        percentages("rk_net", entry="test_error"),
        below(student(differences("rk_net", "res_net", "test_error")), 1, "points"),
        lacks=_flow_is_idle,
        gpu=BUDGET,
    ),
    Claim(
        "The flow earns its place: without it the error is more than a point larger (ODE-Net against no flow)",
        "–",
        RECORD,
        percentages("ode_net", "no_flow", entry="test_error", joined=" against "),
        above(student(differences("no_flow", "ode_net", "test_error")), 1, "points"),
        gpu=BUDGET,
    ),
    Claim(
        "One residual layer in its place, with about as many parameters, does as well, within a point",
        "asked for by users of torchdiffeq",
        RECORD,
        percentages("ode_net", "one_layer", entry="test_error", joined=" against "),
        within(student(differences("one_layer", "ode_net", "test_error")), -1, 1, "points"),
    ),
    Claim(
        "The exact gradient trains the ODE-Net to the same error as the continuous adjoint, within a point",
        "half the error rate of the adjoint (Zhuang et al. 2020, abstract)",
        RECORD,
        percentages("ode_net", "ode_net_exact", entry="test_error", joined=" against "),
        within(student(differences("ode_net_exact", "ode_net", "test_error")), -1, 1, "points"),
    ),
    Claim(
        "A training step of the ODE-Net takes more than three times as long as one of the ResNet",
        f"O(L̃) against O(L) ({PUBLISHED}, table 1)",
        RECORD,
        lambda r: f"× {median(_times(r, 'ode_net')):.1f} (exact gradient × {median(_times(r, 'ode_net_exact')):.1f})",
        above(ratio(lambda r: _times(r, "ode_net")), 3, "times"),
    ),
    Claim(
        "The adjoint's memory does not depend on the number of steps: the flow at the smallest tolerance against the "
        "largest",
        f"O(1) ({PUBLISHED}, table 1)",
        RECORD,
        lambda r: (
            f"× {_growth(r, 'adjoint'):.2f} (checkpointed × {_growth(r, 'checkpointed'):.1f}, "
            f"backprop × {_growth(r, 'backprop'):.1f})"
        ),
        Exact(lambda r: _growth(r, "adjoint") < 1.1, "count"),
    ),
    Claim(
        "And it saves memory in training: the flow of the ODE-Net needs less than that of the ResNet",
        f"O(1) against O(L) ({PUBLISHED}, table 1)",
        RECORD,
        lambda r: f"× {_bytes(r):.2f}",
        Exact(lambda r: _bytes(r) < 1, "count"),
    ),
    Claim(
        "The tolerance, changed after training, controls the numerical error of x(T): four decades of the one, at "
        "least one of the other",
        f"{PUBLISHED}, figure 3a",
        RECORD,
        lambda r: "{:.0e} → {:.0e}".format(*_errors_at_ends(r)),
        above(ratio(_falls), 10, "times"),
    ),
    Claim(
        "Time is proportional to the evaluations (correlation of their means at each tolerance above 0.95)",
        f"{PUBLISHED}, figure 3b",
        RECORD,
        lambda r: f"{_correlation(r):.3f}",
        above(correlation_interval(_evaluations_and_seconds), 0.95),
    ),
    Claim(
        "Backwards the adjoint evaluates about half as often as forwards (between 0.4 and 0.6, in training)",
        f"about half ({PUBLISHED}, figure 3c; implicit Adams)",
        RECORD,
        lambda r: f"{fmean(_backwards(r)):.2f} (exact gradient {fmean(_backwards(r, 'ode_net_exact')):.2f})",
        within(student(_backwards), 0.4, 0.6),
    ),
    Claim(
        "Evaluations grow in the course of training",
        f"{PUBLISHED}, figure 3d",
        RECORD,
        lambda r: f"{_in_training(r, 0):.1f} in the first epoch, {_in_training(r, -1):.1f} in the last",
        above(ratio(_growing), 1, "times"),
    ),
    Claim(
        "A trained ODE-Net may be solved at any tolerance up to 0.1: its test error moves by less than a point, "
        "whatever tolerance it was trained at",
        f"trade of accuracy for time after training ({PUBLISHED}, section 3)",
        RECORD,
        lambda r: f"{max(_moved(r)):.2f} points at most",
        below(student(_moved), 1, "points over nets"),
    ),
    Claim(
        "A tolerance of 0.1 is enough to train with: errors within a point",
        "–",
        RECORD,
        lambda r: ", ".join(f"{t}: {error:.1f} %" for t, error in _trained_at(r).items()),
        tuple(
            within(student(lambda r, first=first: _against_own(r, first)), -1, 1, "points") for first in (True, False)
        ),
    ),
]
