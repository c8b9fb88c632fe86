"""Curves and points of several seeds: means with standard deviations."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from statistics import fmean, stdev
from typing import Any

from matplotlib.axes import Axes


def deviation(sample: Sequence[float]) -> float:
    """Return the standard deviation over the seeds, or 0 for one seed."""
    return stdev(sample) if len(sample) > 1 else 0.0


def curve(axes: Axes, x: Sequence[float], samples: Sequence[Sequence[float]], form: str, **style: Any) -> None:
    """Draw means over the seeds with a band of one standard deviation to each side.

    Args:
        axes: Axes to draw on.
        x: Places of the samples.
        samples: Values of the seeds at each place.
        form: Format of the line, as in `Axes.plot`.
        style: Further options of `Axes.plot`, with a `color`.
    """
    means, widths = [fmean(sample) for sample in samples], [deviation(sample) for sample in samples]
    low, high = ([m + sign * w for m, w in zip(means, widths, strict=True)] for sign in (-1, 1))
    axes.plot(x, means, form, **style)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def logarithmic_curve(
    axes: Axes, x: Sequence[float], samples: Sequence[Sequence[float]], form: str, **style: Any
) -> None:
    """Draw geometric means over the seeds, in a band of one standard deviation of the logarithm; see `curve`."""
    logarithms = [[log(value) for value in sample] for sample in samples]
    means, widths = [fmean(sample) for sample in logarithms], [deviation(sample) for sample in logarithms]
    low, high = ([exp(m + sign * w) for m, w in zip(means, widths, strict=True)] for sign in (-1, 1))
    axes.plot(x, [exp(mean) for mean in means], form, **style)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)


def points(axes: Axes, x: Sequence[float], samples: Sequence[Sequence[float]], form: str, **style: Any) -> None:
    """Draw means over the seeds with a bar of one standard deviation to each side; see `curve` for the arguments."""
    axes.errorbar(x, [fmean(sample) for sample in samples], [deviation(s) for s in samples], fmt=form, **style)


def seeds(axes: Axes, x: float, sample: Sequence[float], width: float = 0.3, **style: Any) -> None:
    """Draw a point for each seed, side by side around `x` within `width`, and a line at their mean."""
    step = width / max(1, len(sample) - 1)
    places = [x + (number - (len(sample) - 1) / 2) * step for number in range(len(sample))]
    axes.plot(places, sample, "o", markersize=3.5, markeredgewidth=0, alpha=0.85, zorder=3, **style)
    axes.plot([x - 0.36, x + 0.36], [fmean(sample)] * 2, "-", linewidth=1.8, zorder=4, **style)
