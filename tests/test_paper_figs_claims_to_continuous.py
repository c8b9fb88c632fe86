"""Each claim on the way from ResNet to ODE-Net holds on a record that supports it and fails on one that refutes it."""

from __future__ import annotations

from typing import Any

import pytest

from odenet.training import Record
from paper_figs.claims.to_continuous import CLAIMS

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def record(
    *,
    errors: dict[str, float] | None = None,
    slowness: float = 5.0,
    adjoint_bytes: tuple[float, ...] = (8.0,) * 5,
    flow_bytes: float = 8.0,
    numerical: float = 1e-4,
    seconds: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0),
    backward: float = 0.5,
    growth: float = 1.2,
    moved: float = 0.0,
) -> Record:
    """Return a record on which every claim holds with the default arguments."""
    names = ("no_flow", "one_layer", "res_net", "rk_net", "ode_net", "ode_net_exact", "ode_net@0.1")
    error_of = dict.fromkeys(names, 0.1) | {"no_flow": 0.15} | (errors or {})
    rows = [
        {
            "tolerance": tolerance,
            "test_error": 0.1 + (moved if n == 0 else 0.0),
            "numerical_error": numerical if n == 4 else 1e-2,
            "forward": 10 * 2**n,
            "seconds_forward": seconds[n],
            "flow_bytes": {"adjoint": adjoint_bytes[n], "checkpointed": 10.0 + n, "backprop": 10.0 * 2**n},
        }
        for n, tolerance in enumerate(TOLERANCES)
    ]
    results: dict[str, Any] = {}
    for seed in (0, 1, 2):
        for name in names:
            evaluations = {"forward": [10.0, 10 * growth], "backward": [10 * backward, 10 * backward * growth]}
            parameters = 30_000 if name == "res_net" else 10_000
            results[f"seed{seed}/{name}"] = {
                "parameters": parameters,
                "test_error": error_of[name] + 0.0005 * seed * (name == "ode_net"),
                "evaluations": evaluations,
            }
            if name.startswith("ode_net"):
                results[f"seed{seed}/{name}/tolerances"] = {"rows": rows}
    results["costs"] = {
        "flow_bytes": {"ode_net": flow_bytes, "res_net": 10.0},
        "seconds": {"ode_net": [slowness, 2 * slowness], "ode_net_exact": [2.0, 4.0], "res_net": [1.0, 2.0]},
    }
    return Record(
        "to_continuous", "cpu", {"seeds": [0, 1, 2], "tolerance": 1e-3, "training_tolerances": [0.1]}, results
    )


OTHERS = {
    "ODE-Net is as accurate": {"errors": {"ode_net": 0.12}},
    "RK-Net": {"errors": {"rk_net": 0.12}},
    "earns its place": {"errors": {"no_flow": 0.105}},
    "One residual layer": {"errors": {"one_layer": 0.12}},
    "exact gradient trains": {"errors": {"ode_net_exact": 0.12}},
    "three times as long": {"slowness": 2.5},
    "does not depend on the number of steps": {"adjoint_bytes": (8.0, 8.5, 9.0, 9.5, 10.0)},
    "saves memory": {"flow_bytes": 12.0},
    "four decades": {"numerical": 2e-3},
    "proportional": {"seconds": (16.0, 8.0, 4.0, 2.0, 1.0)},
    "half as often": {"backward": 1.0},
    "grow in the course": {"growth": 0.8},
    "solved at any tolerance": {"moved": 0.02},
    "enough to train with": {"errors": {"ode_net@0.1": 0.12}},
}
"""Words that identify each claim, and a change of the record under which the claim fails."""


def test_every_claim_holds_on_a_record_that_supports_it():
    assert len(CLAIMS) == len(OTHERS)
    for claim in CLAIMS:
        assert claim.verdict(record()) == "holds", claim.words(record())


@pytest.mark.parametrize(("part", "change"), OTHERS.items(), ids=list(OTHERS))
def test_a_claim_does_not_hold_on_a_record_that_speaks_against_it(part: str, change: dict[str, Any]):
    (claim,) = (claim for claim in CLAIMS if part in claim.words(record()))
    assert claim.verdict(record(**change)) == "fails"
    assert claim.ours(record(**change))


def test_what_is_printed_are_the_measured_numbers():
    printed = [claim.ours(record(slowness=6.0)) for claim in CLAIMS]
    assert "10.1 ± 0.1 % with 10,000 against 10.0 ± 0.0 % with 30,000" in printed
    assert "× 6.0 (exact gradient × 2.0)" in printed
    assert "× 1.00 (checkpointed × 1.4, backprop × 16.0)" in printed
    assert "1e-02 → 1e-04" in printed
    assert "10.0 in the first epoch, 12.0 in the last" in printed
    assert "0.001: 10.0 %, 0.1: 10.0 %" in printed
