"""Process that runs JAX and diffrax: it reads requests as lines of JSON from its input and writes answers.

`benchmarks.peers.diffrax_runs` starts it, so that JAX's threads and memory do not affect other contestants. A request
with "prepare" compiles a solve under that name and answers with its result; a request with "run" runs the solve and
answers with the seconds that it took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

jax: Any = import_module("jax")
jnp: Any = import_module("jax.numpy")
diffrax: Any = import_module("diffrax")

jax.config.update("jax_enable_x64", True)


def van_der_pol(t: Any, state: Any, parameters: Any) -> Any:  # noqa: ARG001
    """Compute the slope of `benchmarks.peers.dynamics.VanDerPol`."""
    (mu,) = parameters
    x, v = state[..., 0], state[..., 1]
    return jnp.stack([v, mu * (1 - x * x) * v - x], axis=-1)


def mlp(t: Any, state: Any, parameters: Any) -> Any:  # noqa: ARG001
    """Compute the slope of `benchmarks.peers.dynamics.MLP`."""
    weight1, bias1, weight2, bias2 = parameters
    return jnp.tanh(state @ weight1.T + bias1) @ weight2.T + bias2


FIELDS = {"Van der Pol": van_der_pol, "MLP": mlp}


def dopri5(field: Callable, horizon: float) -> Callable:
    """Return the solve (x(0), θ, tolerance) ↦ x(T) with dopri5, in which each sample has its own steps, by vmap."""

    def solve(x: Any, parameters: Any, tolerance: Any) -> Any:
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        return _solve(diffrax.Dopri5(), field, horizon, None, x, parameters, controller)

    return jax.vmap(solve, in_axes=(0, None, None))


def euler(field: Callable, horizon: float) -> Callable:
    """Return the solve (x(0), θ, steps) ↦ x(T) with Euler steps of the whole batch."""

    def solve(x: Any, parameters: Any, steps: int) -> Any:
        controller = diffrax.ConstantStepSize()
        return _solve(diffrax.Euler(), field, horizon, horizon / steps, x, parameters, controller, max_steps=steps + 1)

    return solve


def scan(field: Callable, horizon: float) -> Callable:
    """Return the solve (x(0), θ, steps) ↦ x(T) with hand-written Euler steps in `jax.lax.scan`."""

    def solve(x: Any, parameters: Any, steps: int) -> Any:
        def step(state: Any, _: None) -> tuple[Any, None]:
            return state + horizon / steps * field(0.0, state, parameters), None

        return jax.lax.scan(step, x, None, length=steps)[0]

    return solve


METHODS: dict[str, Callable[..., Callable]] = {"dopri5": dopri5, "euler": euler, "scan": scan}


def _solve(
    method: Any, field: Callable, horizon: float, h: float | None, x: Any, parameters: Any, controller: Any, **more: int
) -> Any:
    term = diffrax.ODETerm(field)
    saveat = diffrax.SaveAt(t1=True)
    solution = diffrax.diffeqsolve(
        term, method, 0.0, horizon, h, x, parameters, stepsize_controller=controller, saveat=saveat, **more
    )
    return solution.ys[-1]


@cache
def program(method: str, dynamics: str, horizon: float, gradient: bool) -> Callable:
    """Return the jitted solve, or the gradient of Σ x(T)² in x(0) and θ, compiled once for all tolerances."""
    solve = METHODS[method](FIELDS[dynamics], horizon)
    static = () if method == "dopri5" else (2,)
    if gradient:
        solve = jax.grad(lambda *arguments, end=solve: (end(*arguments) ** 2).sum(), argnums=(0, 1))
    return jax.jit(solve, static_argnums=static)


def prepared(request: dict[str, Any]) -> tuple[Callable[[], Any], Any]:
    """Compile a solve; return it as a function without arguments, and its answer: x(T), or the gradient in x(0)."""
    x = jnp.asarray(request["x"], request["dtype"])
    parameters = [jnp.asarray(values, request["dtype"]) for values in request["parameters"]]
    compiled = program(request["method"], request["dynamics"], request["horizon"], request["gradient"])

    def run() -> Any:
        return jax.block_until_ready(compiled(x, parameters, request["setting"]))

    answer = run()
    return run, answer[0] if request["gradient"] else answer


def serve() -> None:
    """Answer requests until the input ends."""
    solves: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            solves[request["prepare"]], value = prepared(request)
            answer = {"value": value.tolist()}
        else:
            start = time.perf_counter()
            solves[request["run"]]()
            answer = {"seconds": time.perf_counter() - start}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
