"""Claims on the way from ResNet to ODE-Net, checked on the record of `to_continuous`."""

from __future__ import annotations

from statistics import fmean, median
from typing import Any

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percent, percentages

RECORD = "to_continuous/cpu-fashion-mnist.json"
PUBLISHED = "Chen et al. 2018"


def _parameters(record: Record, name: str) -> int:
    return over_seeds(record.results, name, "parameters")[0]


def _cost(record: Record, what: str, name: str, baseline: str) -> float:
    """Return the cost of a net relative to a baseline; a time is the median ratio over the interleaved rounds."""
    costs = record.results["costs"][what]
    if what == "seconds":
        return median(a / b for a, b in zip(costs[name], costs[baseline], strict=True))
    return costs[name] / costs[baseline]


def _at_tolerances(record: Record, entry: str, name: str = "ode_net") -> list[list[Any]]:
    """Return `entry` at each tolerance, in the order of the settings, as lists over seeds."""
    per_seed = over_seeds(record.results, f"{name}/tolerances", "rows")
    return [[row[entry] for row in rows] for rows in zip(*per_seed, strict=True)]


def _growth(record: Record, method: str) -> float:
    """Return the flow's memory at the smallest tolerance divided by its memory at the largest."""
    megabytes = [fmean(sizes[method] for sizes in row) for row in _at_tolerances(record, "flow_bytes")]
    return megabytes[-1] / megabytes[0]


def _errors_at_ends(record: Record) -> tuple[float, float]:
    """Return the numerical errors at the largest and at the smallest tolerance."""
    errors = [fmean(row) for row in _at_tolerances(record, "numerical_error")]
    return errors[0], errors[-1]


def _backwards(record: Record, name: str = "ode_net") -> float:
    """Return the evaluations in backward passes per evaluation in forward passes, over the whole training."""
    counts = over_seeds(record.results, name, "evaluations")
    return fmean(fmean(e["backward"]) / fmean(e["forward"]) for e in counts)


def _in_training(record: Record, epoch: int) -> float:
    """Return the evaluations in the forward pass of a training step of an epoch."""
    return fmean(evaluations["forward"][epoch] for evaluations in over_seeds(record.results, "ode_net", "evaluations"))


def _correlation(record: Record) -> float:
    """Return the correlation of forward evaluations with seconds, from means over seeds at each tolerance."""
    x = [fmean(row) for row in _at_tolerances(record, "forward")]
    y = [fmean(row) for row in _at_tolerances(record, "seconds_forward")]
    dx, dy = [a - fmean(x) for a in x], [b - fmean(y) for b in y]
    product = sum(a * b for a, b in zip(dx, dy, strict=True))
    return product / (sum(a * a for a in dx) * sum(b * b for b in dy)) ** 0.5


def _moved(record: Record, *names: str) -> float:
    """Return the largest change of the test error between tolerances, in percentage points."""
    per_net = [_at_tolerances(record, "test_error", name) for name in names]
    means = [[100 * fmean(row) for row in rows] for rows in per_net]
    return max(max(errors) - min(errors) for errors in means)


def _trained_at(record: Record) -> dict[str, float]:
    """Return the test error of the first seed's ODE-Net in percent, by the tolerance of its training."""
    first, own = f"seed{record.settings['seeds'][0]}", record.settings["tolerance"]
    names = {f"{own:g}": "ode_net"} | {f"{t:g}": f"ode_net@{t:g}" for t in record.settings["training_tolerances"]}
    return {t: 100 * record.results[f"{first}/{name}"]["test_error"] for t, name in names.items()}


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
        lambda r: (
            mean(r, "ode_net", "test_error") < mean(r, "res_net", "test_error") + 1
            and 2 * _parameters(r, "ode_net") < _parameters(r, "res_net")
        ),
    ),
    Claim(
        "So is the RK-Net, with four evaluations a step and backpropagation",
        f"0.47 %, MNIST ({PUBLISHED}, table 1)",
        RECORD,
        percentages("rk_net", entry="test_error"),
        lambda r: mean(r, "rk_net", "test_error") < mean(r, "res_net", "test_error") + 1,
    ),
    Claim(
        "The flow earns its place: without it the error is more than a point larger (ODE-Net against no flow)",
        "–",
        RECORD,
        percentages("ode_net", "no_flow", entry="test_error", joined=" against "),
        lambda r: mean(r, "no_flow", "test_error") > mean(r, "ode_net", "test_error") + 1,
    ),
    Claim(
        "One residual layer in its place, with about as many parameters, does as well, within a point",
        "asked for by users of torchdiffeq",
        RECORD,
        percentages("ode_net", "one_layer", entry="test_error", joined=" against "),
        lambda r: abs(mean(r, "one_layer", "test_error") - mean(r, "ode_net", "test_error")) < 1,
    ),
    Claim(
        "The exact gradient trains the ODE-Net to the same error as the continuous adjoint, within a point",
        "half the error rate of the adjoint (Zhuang et al. 2020, abstract)",
        RECORD,
        percentages("ode_net", "ode_net_exact", entry="test_error", joined=" against "),
        lambda r: abs(mean(r, "ode_net", "test_error") - mean(r, "ode_net_exact", "test_error")) < 1,
    ),
    Claim(
        "A training step of the ODE-Net takes more than three times as long as one of the ResNet",
        f"O(L̃) against O(L) ({PUBLISHED}, table 1)",
        RECORD,
        lambda r: (
            f"× {_cost(r, 'seconds', 'ode_net', 'res_net'):.1f} "
            f"(exact gradient × {_cost(r, 'seconds', 'ode_net_exact', 'res_net'):.1f})"
        ),
        lambda r: _cost(r, "seconds", "ode_net", "res_net") > 3,
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
        lambda r: _growth(r, "adjoint") < 1.1,
    ),
    Claim(
        "And it saves memory in training: the flow of the ODE-Net needs less than that of the ResNet",
        f"O(1) against O(L) ({PUBLISHED}, table 1)",
        RECORD,
        lambda r: f"× {_cost(r, 'flow_bytes', 'ode_net', 'res_net'):.2f}",
        lambda r: _cost(r, "flow_bytes", "ode_net", "res_net") < 1,
    ),
    Claim(
        "The tolerance, changed after training, controls the numerical error of x(T): four decades of the one, at "
        "least one of the other",
        f"{PUBLISHED}, figure 3a",
        RECORD,
        lambda r: "{:.0e} → {:.0e}".format(*_errors_at_ends(r)),
        lambda r: _errors_at_ends(r)[0] >= 10 * _errors_at_ends(r)[1],
    ),
    Claim(
        "Time is proportional to the evaluations (correlation of their means at each tolerance above 0.95)",
        f"{PUBLISHED}, figure 3b",
        RECORD,
        lambda r: f"{_correlation(r):.3f}",
        lambda r: _correlation(r) > 0.95,
    ),
    Claim(
        "Backwards the adjoint evaluates about half as often as forwards (between 0.4 and 0.6, in training)",
        f"about half ({PUBLISHED}, figure 3c; implicit Adams)",
        RECORD,
        lambda r: f"{_backwards(r):.2f} (exact gradient {_backwards(r, 'ode_net_exact'):.2f})",
        lambda r: 0.4 < _backwards(r) < 0.6,
    ),
    Claim(
        "Evaluations grow in the course of training",
        f"{PUBLISHED}, figure 3d",
        RECORD,
        lambda r: f"{_in_training(r, 0):.1f} in the first epoch, {_in_training(r, -1):.1f} in the last",
        lambda r: _in_training(r, -1) > _in_training(r, 0),
    ),
    Claim(
        "A trained ODE-Net may be solved at any tolerance up to 0.1: its test error moves by less than a point, "
        "whatever tolerance it was trained at",
        f"trade of accuracy for time after training ({PUBLISHED}, section 3)",
        RECORD,
        lambda r: f"{_moved(r, *_all_trained_at(r)):.2f} points at most",
        lambda r: _moved(r, *_all_trained_at(r)) < 1,
    ),
    Claim(
        "A tolerance of 0.1 is enough to train with: errors within a point (one seed)",
        "–",
        RECORD,
        lambda r: ", ".join(f"{t}: {error:.1f} %" for t, error in _trained_at(r).items()),
        lambda r: max(_trained_at(r).values()) - min(_trained_at(r).values()) < 1,
    ),
]
