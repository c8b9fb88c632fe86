r"""Embedded pairs: two explicit Runge-Kutta methods with the same stages; their difference estimates the error.

The last row of A is b, so the last slope f(t₀ + h, x₁) is the first slope of the next step ("first same as last",
FSAL). The fixed-step solvers `Dopri5`, `Tsit5` and `Bosh3` take the step of the higher order and do not evaluate that
last slope. A method that torchdiffeq has under the same name has the same coefficients here.
"""

from __future__ import annotations

from fractions import Fraction

from odenet.blocks.solvers.runge_kutta import RungeKutta
from odenet.blocks.solvers.tableau import ButcherTableau


def _row(text: str) -> list[Fraction]:
    return [Fraction(number) for number in text.split()]


def _pair(
    order: int, rows: list[str], error: list[Fraction], middle: str = "", rounding: Fraction = Fraction(0)
) -> ButcherTableau:
    """Return the tableau of a first-same-as-last pair of orders p = `order` and p - 1; `rows` leaves out row 0."""
    a = [[], *map(_row, rows)]
    return ButcherTableau(order, a, [*a[-1], Fraction(0)], error, order - 1, _row(middle), rounding)


def _difference(b: str, other: str) -> list[Fraction]:
    return [x - y for x, y in zip(_row(b), _row(other), strict=True)]


DOPRI5 = _pair(
    order=5,
    rows=[
        "1/5",
        "3/40 9/40",
        "44/45 -56/15 32/9",
        "19372/6561 -25360/2187 64448/6561 -212/729",
        "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
    ],
    error=_difference(
        "35/384 0 500/1113 125/192 -2187/6784 11/84 0",
        "1951/21600 0 22642/50085 451/720 -12231/42400 649/6300 1/60",
    ),
    middle=(
        "6025192743/60171106304 0 51252292925/130801643196 -2691868925/90256659456 187940372067/3189068634112 "
        "-1776094331/39487288512 11237099/470086768"
    ),
)
"""The pair of Dormand and Prince (1980), order 5(4), with the embedded method of Shampine (1986): `dopri5`."""

TSIT5 = _pair(
    order=5,
    rows=[
        "0.161",
        "-0.008480655492356989 0.335480655492357",
        "2.8971530571054935 -6.359448489975075 4.3622954328695815",
        "5.325864828439257 -11.748883564062828 7.4955393428898365 -0.09249506636175525",
        "5.86145544294642 -12.92096931784711 8.159367898576159 -0.071584973281401 -0.028269050394068383",
        "0.09646076681806523 0.01 0.4798896504144996 1.379008574103742 -3.290069515436081 2.324710524099774",
    ],
    error=_row(
        "-0.00178001105222577714 -0.0008164344596567469 0.007880878010261995 -0.1447110071732629 0.5823571654525552 "
        "-0.45808210592918697 1/66"
    ),
    middle=(
        "0.107412352300968751 0.01135625 0.395609030560453098 -0.344752143525935475 1.316185364958164740 "
        "-1.017060854293651207 1/32"
    ),
    rounding=Fraction("1e-13"),
)
"""The pair of Tsitouras (2011), order 5(4), whose coefficients are published as decimals."""

BOSH3 = _pair(
    order=3,
    rows=["1/2", "0 3/4", "2/9 1/3 4/9"],
    error=_difference("2/9 1/3 4/9 0", "7/24 1/4 1/3 1/8"),
)
"""The pair of Bogacki and Shampine (1989), order 3(2): torchdiffeq's `bosh3`."""

HEUN_EULER = _pair(order=2, rows=["1", "1/2 1/2"], error=_difference("1/2 1/2 0", "1 0 0"))
"""The pair of Heun's and Euler's methods, order 2(1), with the coefficients of torchdiffeq's `adaptive_heun`.

The slope passed to the next step is the one at x₁; torchdiffeq passes on the slope at Euler's point.
"""

PAIRS = {"dopri5": DOPRI5, "tsit5": TSIT5, "bosh3": BOSH3, "adaptive_heun": HEUN_EULER}
"""Embedded pairs by name; torchdiffeq's names for the methods that it has."""


class Dopri5(RungeKutta):
    """The step of order 5 of Dormand and Prince (1980), with six evaluations."""

    tableau = DOPRI5


class Tsit5(RungeKutta):
    """The step of order 5 of Tsitouras (2011), with six evaluations."""

    tableau = TSIT5


class Bosh3(RungeKutta):
    """The step of order 3 of Bogacki and Shampine (1989), with three evaluations."""

    tableau = BOSH3
