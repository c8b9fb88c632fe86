"""Figure of single-label and multi-label classification: metrics of each net, and accuracy by the number of classes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from experiments.support.statistics import over_seeds
from odenet.data import Scenes
from odenet.training import Record
from paper_figs.support.command import main
from paper_figs.support.seeds import points
from paper_figs.support.style import COLOURS

NAME = "categorization"
NETS = {"label": "net of one label", "labels": "net of many labels"}
COLOUR = {"label": COLOURS["one_label"], "labels": COLOURS["many_labels"]}
QUESTIONS = {"accuracy": "c   One label right", "subset_accuracy": "d   All labels right"}
EXAMPLES = 7


def draw(record: Record) -> Figure:
    """Draw example scenes (if a seed suffices for them), all metrics, and accuracies by the number of classes."""
    shares, precisions = metrics(record)
    strip = record.settings["data"] == "scenes"
    height = 1.2 + 0.26 * max(len(shares), len(precisions))
    figure = Figure(figsize=(7.2, height + 1.5 * strip), layout="constrained")
    ratios = [1.5, height] if strip else [height]
    *upper, lower = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios).flat
    if strip:
        _scenes(upper[0], tuple(record.settings["size"]))
    a, b, *right = lower.subplots(1, 4, width_ratios=[1.1, 1.1, 1, 1])
    _metrics(a, record, shares, "a   Right answers", "test scenes (%)")
    _metrics(b, record, precisions, "b   Average precision", "AP (%)")
    for axes, (entry, title) in zip(right, QUESTIONS.items(), strict=True):
        _over_classes(axes, record, entry)
        axes.set(title=title, xlabel="classes in the scene", ylim=(-3, 103))
    right[1].tick_params(labelleft=False)
    right[0].set_ylabel("test scenes (%)")
    lower.legend(*a.get_legend_handles_labels(), loc="outside lower center", ncols=4, handletextpad=0.2)
    return figure


def metrics(record: Record) -> tuple[dict[str, str], dict[str, str]]:
    """Return the shares of right answers and the average precisions, with their labels, from top to bottom."""
    names = next(iter(record.results.values()))
    ranked = {name: name.replace(" accuracy", "") for name in names if name.startswith("top-")}
    classes = {name: name.removeprefix("AP ") for name in names if name.startswith("AP ")}
    return {"accuracy": "top-1"} | ranked | {"subset_accuracy": "all labels"}, classes | {"mAP": "mean"}


def _scenes(figure: SubFigure, size: tuple[int, int]) -> None:
    scenes = Scenes(size, part="test")
    batch = scenes.draw(range(EXAMPLES))
    for k, axes in enumerate(figure.subplots(1, EXAMPLES)):
        axes.imshow(batch.images[k].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_axis_off()
        label = int(batch.label[k])
        others = [scenes.classes[c] for c in batch.labels[k].nonzero().flatten().tolist() if c != label]
        axes.set_title(scenes.classes[label], loc="center", fontweight="bold", fontsize=8, pad=3)
        axes.text(0.5, -0.05, "\n".join(others), transform=axes.transAxes, ha="center", va="top", fontsize=8)
    figure.suptitle("Test scenes: the one label, and the others in sight", x=0.005, ha="left", fontsize=9)


def _metrics(axes: Axes, record: Record, rows: dict[str, str], title: str, x: str) -> None:
    """Draw a small mark for each seed in a row for each metric; nets are filled and regressions hollow."""
    places = range(len(rows))
    for kind, marker, shift in (("regression", "s", -0.24), ("net", "o", 0.08)):
        for number, (question, name) in enumerate(NETS.items()):
            seeds = [over_seeds(record.results, f"{kind}/{question}", metric) for metric in rows]
            for place, values in zip(places, seeds, strict=True):
                axes.plot(
                    [100 * value for value in values],
                    [place + shift + 0.16 * number] * len(values),
                    marker,
                    color=COLOUR[question],
                    markersize=4,
                    markerfacecolor=COLOUR[question] if kind == "net" else "white",
                    markeredgewidth=0.9,
                    label=name.replace("net", kind) if place == 0 else None,
                    clip_on=False,
                )
    axes.set_yticks(places, list(rows.values()), fontsize=7.5)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel=x, title=title)


def _over_classes(axes: Axes, record: Record, entry: str) -> None:
    for question in NETS:
        curves = over_seeds(record.results, f"net/{question}", "by_visible_classes")
        x = [row["classes"] for row in curves[0]]
        y = [[100 * row[entry] for row in rows] for rows in zip(*curves, strict=True)]
        points(axes, x, y, "-o", color=COLOUR[question], clip_on=False, capsize=3)
        axes.set_xticks(x)


if __name__ == "__main__":
    main(NAME, draw)
