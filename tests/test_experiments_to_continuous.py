"""Tests of the experiment from ResNet to ODE-Net: its nets are the published ones, and differ only in the flow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.to_continuous import NETS, PRESETS, ToContinuous, network, table
from odenet import Adaptive, Checkpointed, ContinuousAdjoint, ODEBlock
from odenet.data import load
from odenet.measure import count_evaluations, count_parameters
from odenet.models import ode_net, res_net, rk_net
from odenet.training import Record

DATA = load("digits", train_images=16)
SMALL = PRESETS["smoke"]


def flow_of(name: str, settings: ToContinuous = SMALL) -> ODEBlock:
    flow = network(name, settings, DATA).flow
    assert isinstance(flow, ODEBlock)
    return flow


@pytest.mark.parametrize(("name", "published"), [("ode_net", ode_net), ("rk_net", rk_net), ("res_net", res_net)])
def test_with_64_channels_the_nets_are_those_of_the_released_code(name, published):
    torch.manual_seed(0)
    ours = network(name, PRESETS["gpu"], DATA)
    torch.manual_seed(0)
    theirs = published(**({"steps": 2} if name == "rk_net" else {}))
    assert repr(ours) == repr(theirs)
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


def test_a_residual_layer_has_about_the_parameters_of_the_ode_nets_field():
    for preset in ("cpu", "gpu"):
        one, ode = (count_parameters(flow_of(name, PRESETS[preset])) for name in ("one_layer", "ode_net"))
        assert 0.9 < one / ode < 1
    assert count_parameters(network("no_flow", SMALL, DATA).flow) == 0


def test_the_ode_nets_differ_in_their_gradient_or_their_tolerance_and_begin_with_the_same_weights():
    nets = {}
    for name in ("rk_net", "ode_net", "ode_net_exact", "ode_net@0.1"):
        torch.manual_seed(0)
        nets[name] = network(name, SMALL, DATA)
    states = [net.state_dict() for net in nets.values()]
    assert all(torch.equal(value, state[key]) for state in states for key, value in states[0].items())
    adjoint, exact, loose = (flow_of(name) for name in ("ode_net", "ode_net_exact", "ode_net@0.1"))
    assert adjoint.stepping == exact.stepping == Adaptive("dopri5", 1e-3, 1e-3)
    assert loose.stepping == Adaptive("dopri5", 0.1, 0.1)
    assert isinstance(adjoint.gradient, ContinuousAdjoint)
    assert isinstance(loose.gradient, ContinuousAdjoint)
    assert isinstance(exact.gradient, Checkpointed)


def test_the_fixed_flows_have_as_many_evaluations_as_layers_or_stages():
    x = torch.randn(2, 1, 8, 8)
    found = {}
    for name in NETS:
        net = network(name, SMALL, DATA)
        net(x)
        found[name] = count_evaluations(net)
    assert [found[name] for name in NETS[:4]] == [0, 1, 2, 8]
    assert min(found["ode_net"], found["ode_net_exact"]) >= 8


@pytest.mark.parametrize("channels", [1, 7])
def test_channels_that_make_no_groups_of_two_are_refused(channels: int):
    with pytest.raises(ValueError, match=f"channels must be even, got {channels}: a group of GroupNorm has two"):
        replace(SMALL, channels=channels)


def test_a_row_is_the_mean_over_the_seeds_and_nets_at_other_tolerances_have_no_costs():
    def result(error: float) -> dict:
        evaluations = {"forward": [14.0, 20.0 + 100 * error], "backward": [14.0, 30.0]}
        return {"parameters": 5000, "test_error": error, "evaluations": evaluations}

    costs = {"bytes": {"ode_net": 2e6}, "flow_bytes": {"ode_net": 1e6}, "seconds": {"ode_net": [0.1, 0.3, 0.2]}}
    results = {"seed0/ode_net": result(0.1), "seed0/ode_net@0.1": result(0.3), "seed0/ode_net/tolerances": {"rows": []}}
    results |= {"costs": costs, "seed1/ode_net": result(0.2)}
    whole, loose = table(Record("to_continuous", "", {}, results))
    assert list(whole.values()) == ["ode_net", "5,000", "15.0 ± 7.1", "2.0", "1.00", "200", "35", "30"]
    assert list(loose.values()) == ["ode_net@0.1", "5,000", "30.0", "", "", "", "50", "30"]
