"""Claims on gradients over depth, checked on the record of `gradient_flow`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import geometric_mean

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import Condition, Exact, above, below, ratio, within

RECORD = "gradient_flow/cpu-fashion-mnist.json"


def _factors(record: Record, chain: str) -> list[float]:
    return record.results[f"chain/{chain}"]["factors"]


def _first_to_third(record: Record, chain: str) -> float:
    """Return the ratio of ∂a₄/∂b₃ to ∂a₄/∂b₁."""
    first, _, third, _ = record.results[f"chain/{chain}"]["bias_gradients"]
    return third / first


def _speeds(record: Record, look: int) -> list[float]:
    """Return ‖∂C/∂b_l‖ of four hidden layers at measurement number `look`, as geometric means over the seeds."""
    runs = over_seeds(record.results, "sigmoid4/speed", "bias_gradient")
    return [geometric_mean(speeds) for speeds in zip(*(run[look] for run in runs), strict=True)]


def _steps_up(record: Record, layer: int) -> list[float]:
    """Return ‖∂C/∂b‖ of a hidden layer over that of the one before, at initialization, for each seed."""
    runs = over_seeds(record.results, "sigmoid4/speed", "bias_gradient")
    return [run[0][layer] / run[0][layer - 1] for run in runs]


def _least_step_up(record: Record) -> list[float]:
    """Return the least ratio of a hidden layer's speed to that of the one before in all steps, for each seed."""
    runs = over_seeds(record.results, "sigmoid4/speed", "bias_gradient")
    return [min(later / earlier for speeds in run for earlier, later in pairwise(speeds)) for run in runs]


def _spans(record: Record, key: str) -> list[float]:
    """Return the error δ of the first layer divided by the last layer's, for each seed."""
    return [errors[0] / errors[-1] for errors in over_seeds(record.results, key, "error")]


def _span(record: Record, key: str) -> float:
    """Return the geometric mean of `_spans`."""
    return geometric_mean(_spans(record, key))


def _factors_per_layer(record: Record, key: str) -> list[float]:
    """Return the mean factor by which a layer multiplies the error in the backward pass, for each seed."""
    layers = len(over_seeds(record.results, key, "error")[0])
    return [span ** (1 / (layers - 1)) for span in _spans(record, key)]


def _extreme_rates(extreme: Callable[[list[float]], float]) -> Callable[[Record], list[float]]:
    """Return a function: the smallest or largest factor per layer of sigmoid nets of all depths, for each seed."""

    def rates(record: Record) -> list[float]:
        keys = [f"sigmoid{depth}/initial" for depth in record.settings["depths"]]
        return [extreme(list(seed)) for seed in zip(*(_factors_per_layer(record, k) for k in keys), strict=True)]

    return rates


def _held(record: Record) -> list[float]:
    """Return the span of ResNet-56 over that of the plain net, for each seed."""
    keys = ("resnet56+bn/initial", "plain56+bn/initial")
    return [a / b for a, b in zip(*(_spans(record, key) for key in keys), strict=True)]


def _rates(record: Record) -> list[float]:
    keys = [f"sigmoid{depth}/initial" for depth in record.settings["depths"]]
    return [geometric_mean(_factors_per_layer(record, key)) for key in keys]


def _raised(record: Record, least: int, most: int) -> float:
    """Return the geometric mean of `_raises`."""
    return geometric_mean(_raises(record, least, most))


def _less_so(record: Record) -> list[float]:
    """Return the raise up to module 4a over that up to 4d, for each seed."""
    return [a / b for a, b in zip(_raises(record, 1, 9), _raises(record, 10, 15), strict=True)]


def _spanning(key: str, least: float) -> Condition:
    return above(ratio(lambda r: _spans(r, key)), least)


def _raises(record: Record, least: int, most: int) -> list[float]:
    """Return the factor by which auxiliary losses raise ‖∂C/∂W‖ in layers of these depths, for each seed."""
    depths = over_seeds(record.results, "googlenet/initial", "depth")[0]
    pairs = zip(
        *(
            over_seeds(record.results, f"{net}/initial", "weight_gradient")
            for net in ("googlenet", "googlenet+auxiliary")
        ),
        strict=True,
    )
    return [
        geometric_mean([b / a for depth, a, b in zip(depths, *seed, strict=True) if least <= depth <= most])
        for seed in pairs
    ]


CLAIMS = [
    Claim(
        "A chain of sigmoids with weights of size below 1: each factor σ′(z)·w is under 1/4, the first bias "
        "learns at least 16 times slower than the third (w = 0.9)",
        "1/4, 16 (Nielsen 2015)",
        RECORD,
        lambda r: f"{max(_factors(r, 'w=0.9, z=0')):.3f}, {_first_to_third(r, 'w=0.9, z=0'):.1f}",
        Exact(lambda r: max(_factors(r, "w=0.9, z=0")) < 0.25 and _first_to_third(r, "w=0.9, z=0") >= 16),
    ),
    Claim(
        "… and with w = 100 and z = 0 each is 25: the gradient explodes",
        "25 (Nielsen 2015)",
        RECORD,
        lambda r: ", ".join(f"{factor:g}" for factor in _factors(r, "w=100, z=0")),
        Exact(lambda r: _factors(r, "w=100, z=0") == [25.0] * 3),
    ),
    Claim(
        "Four hidden layers of sigmoids: ‖∂C/∂b_l‖ at initialisation is 3 to 8 times smaller in each layer than in the "
        "next",
        "0.003, 0.017, 0.070, 0.285 on MNIST (Nielsen, from memory)",
        RECORD,
        lambda r: ", ".join(f"{speed:.2g}" for speed in _speeds(r, 0)),
        tuple(within(ratio(lambda r, layer=layer: _steps_up(r, layer)), 3, 8, "times") for layer in (1, 2, 3)),
    ),
    Claim(
        "Later layers learn faster than earlier ones, all through 500 steps (the fourth against the first, before and "
        "after)",
        "about 100 times (Nielsen, from memory)",
        RECORD,
        lambda r: " → ".join(f"{_speeds(r, look)[3] / _speeds(r, look)[0]:.0f} times" for look in (0, -1)),
        above(ratio(_least_step_up), 1, "times at least"),
    ),
    Claim(
        "The error falls geometrically in a sigmoid net: to 0.20 ± 0.05 in each layer, at every depth from 2 to 12",
        "√(E σ′²) = 0.20 for z ~ N(0, 1.3)",
        RECORD,
        lambda r: f"{min(_rates(r)):.2f} to {max(_rates(r)):.2f}",
        (above(ratio(_extreme_rates(min)), 0.15), below(ratio(_extreme_rates(max)), 0.25)),
    ),
    Claim(
        "BatchNorm, or identities, cure that: over 12 layers not half of the error is lost (first layer over last)",
        "–",
        RECORD,
        lambda r: (
            f"{_span(r, 'sigmoid12/initial'):.1e} alone, {_span(r, 'sigmoid+bn12/initial'):.2f} and "
            f"{_span(r, 'sigmoid+identity12/initial'):.2f}"
        ),
        tuple(_spanning(f"sigmoid+{cure}12/initial", 0.5) for cure in ("bn", "identity")),
    ),
    Claim(
        "In a plain net of 56 layers with BatchNorm the gradient does not vanish (first layer over last)",
        "“healthy norms” (He et al. 2015, section 4.1)",
        RECORD,
        lambda r: f"{_span(r, 'plain56+bn/initial'):.2g} before, {_span(r, 'plain56+bn/trained'):.2g} after training",
        tuple(_spanning(f"plain56+bn/{when}", 1) for when in ("initial", "trained")),
    ),
    Claim(
        "There it explodes, before training, by 1.21 a layer (within 5 %)",
        "exponential growth (Yang et al. 2019), here √(½/(½ - 1/2π)) = 1.21",
        RECORD,
        lambda r: f"{geometric_mean(_factors_per_layer(r, 'plain56+bn/initial')):.3f}",
        within(ratio(lambda r: _factors_per_layer(r, "plain56+bn/initial")), 0.95 * 1.2112, 1.05 * 1.2112),
    ),
    Claim(
        "… and identities hold it: ResNet-56 spans less than a thirtieth of that",
        "–",
        RECORD,
        lambda r: f"{_span(r, 'resnet56+bn/initial'):.3g} against {_span(r, 'plain56+bn/initial'):.2g}",
        below(ratio(_held), 1 / 30),
    ),
    Claim(
        "Without BatchNorm He's initialisation keeps the gradient of a plain net of 56 layers level (within a factor "
        "of 10)",
        "variance kept (He et al. 2015b)",
        RECORD,
        lambda r: f"{_span(r, 'plain56/initial'):.2g}",
        within(ratio(lambda r: _spans(r, "plain56/initial")), 0.1, 10),
    ),
    Claim(
        "GoogLeNet's auxiliary losses raise the gradient up to module 4a, less so up to 4d, and not behind it",
        "“combat the vanishing gradient” (Szegedy et al. 2014)",
        RECORD,
        lambda r: ", ".join(f"× {_raised(r, *depths):.2f}" for depths in ((1, 9), (10, 15), (16, 21))),
        (
            above(ratio(_less_so), 1, "times"),
            above(ratio(lambda r: _raises(r, 10, 15)), 1, "times"),
            Exact(lambda r: abs(_raised(r, 16, 21) - 1) < 1e-6),
        ),
    ),
]
