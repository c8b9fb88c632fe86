"""Figure of the winners of ILSVRC 2010 to 2015, and one second: the error fell as the depth rose."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.support.published import MEMORY
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.families import FAMILIES
from paper_figs.support.style import COLOURS

NAME, EXPERIMENT = "ilsvrc", "complexity"


def draw(record: Record) -> Figure:
    """Draw a bar for each entry with its error and depth: outlined if it did not win, hatched if quoted from memory."""
    winners = record.summary["winners"]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for x, winner in enumerate(winners):
        colour, second = _colour(winner["entry"]), "second" in winner["entry"]
        axes.bar(
            x,
            winner["top5_error"],
            color="white" if second else colour,
            hatch="///" if winner["source"] == MEMORY else None,
            edgecolor=colour if second else "white",
            linestyle="--" if second else "-",
            zorder=3,
        )
        depth = f"{winner['layers']} layers" if winner["layers"] else "no deep net"
        axes.annotate(
            f"{winner['top5_error']:g} %\n{depth}",
            (x, winner["top5_error"]),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
    axes.set_xticks(range(len(winners)), [f"{w['year']}\n{w['entry']}" for w in winners])
    axes.set(
        ylabel="top-5 error on the test set (%)",
        title="ImageNet classification: winning entries, and the second of 2014",
    )
    axes.margins(y=0.2)
    axes.grid(axis="x", visible=False)
    axes.annotate(
        "hatched: numbers from memory\noutlined: did not win",
        (0.99, 0.87),
        xycoords="axes fraction",
        ha="right",
        fontsize=7.5,
    )
    return figure


def _colour(entry: str) -> str:
    """Return the colour of the net's family, or grey if it has none."""
    kinds = [kind for kind in FAMILIES if entry.lower().startswith(kind)]
    return COLOURS[kinds[0] if kinds else "linear"]


if __name__ == "__main__":
    main(NAME, draw, EXPERIMENT)
