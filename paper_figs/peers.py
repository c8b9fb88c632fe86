"""Figure of odenet beside other packages: time against error with error control, and time relative to a plain loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.style import COLOURS

NAME = "peers"

PASSES = {"forward": "a   Van der Pol, forward", "gradient": "b   Van der Pol, gradient"}
HATCHES = {"compiled": "////", "bare scan": "...."}
MARKERS = {"odenet": "o", "torchdiffeq": "s", "torchode": "^", "torchdyn": "v", "diffrax": "D"}


def draw(record: Record) -> Figure:
    """Draw two log-log panels for Van der Pol's oscillator, and bars for training steps with Euler's method."""
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    forward, gradient, bars = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    for axes, (wanted, title) in zip((forward, gradient), PASSES.items(), strict=True):
        _curves(axes, record.results["adaptive"][f"Van der Pol, {_batch(record, 'adaptive')}, {wanted}"])
        axes.set(title=title, xlabel="relative error")
    forward.set_ylabel("seconds")
    of_mlp = f"MLP, {_batch(record, 'fixed steps')}, training step"
    cases = record.results["fixed steps"].items()
    _bars(bars, {case: shares for case, shares in cases if case == of_mlp or case.endswith("blocks, training step")})
    bars.set(title="c   Euler, training step", xlabel="time over a plain loop's")
    handles, _ = forward.get_legend_handles_labels()
    handles += [
        Patch(facecolor="#999999", edgecolor="white", hatch=hatch, label=name) for name, hatch in HATCHES.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // 2))
    return figure


def _batch(record: Record, benchmark: str) -> int:
    """Return the batch size nearest to 256, which a quick record may lack."""
    return min(record.settings[benchmark]["settings"]["batches"], key=lambda batch: abs(batch - 256))


def _curves(axes: Axes, curves: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw a line for each package, from its loosest tolerance to its tightest."""
    for contestant, points in curves.items():
        name, _, special = contestant.partition(",")
        style = f"{MARKERS[name]}{'--' if special else '-'}"
        errors, seconds = zip(*points, strict=True)
        axes.loglog(errors, seconds, style, color=COLOURS[name], label=contestant.replace(",", ""), base=10)
    axes.invert_xaxis()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())


def _bars(axes: Axes, cases: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a group of bars for each case, with a bar for each package; compiled ones are hatched."""
    place, ticks = 0.0, {}
    for case, shares in cases.items():
        first = place
        for contestant, share in shares.items():
            name, _, special = contestant.partition(",")
            hatch = HATCHES.get(special.strip())
            axes.barh(place, share, 0.85, color=COLOURS[name], hatch=hatch, edgecolor="white", linewidth=0)
            place += 1
        ticks[(first + place - 1) / 2] = case.removesuffix(", training step").replace("), ", "),\n")
        place += 0.8
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


if __name__ == "__main__":
    main(NAME, draw)
