"""Claims on accuracy and its costs, checked on the record of `complexity`."""

from __future__ import annotations

from itertools import combinations
from statistics import correlation, fmean

from odenet.training import Record
from paper_figs.claims.claim import Claim, percent, percentages
from paper_figs.claims.verdict import Exact, Interval, above, below, student
from paper_figs.claims.verdict import correlation as correlation_interval

RECORD = "complexity/cpu-fashion-mnist.json"
GPU = "complexity/gpu-fashion-mnist.json"


def _counted(record: Record, name: str, entry: str) -> int:
    return record.results[f"counted/{name}"][entry]


def _deviation(record: Record) -> float:
    """Return the largest relative deviation of counted from published multiply-adds."""
    known = {name: net["multiply_adds"] for name, net in record.summary["published"].items() if net["multiply_adds"]}
    return max(abs(_counted(record, name, "multiply_adds") / 1e9 / given - 1) for name, given in known.items())


def _densities(record: Record) -> dict[str, float]:
    """Return published top-1 accuracy per million counted parameters, for the nets of figure 10 of Canziani et al."""
    found = record.summary["published"]
    return {
        name: found[name]["top1"] / _counted(record, name, "parameters") * 1e6 for name in record.summary["densities"]
    }


def _same_order(record: Record) -> bool:
    """Whether nets that differ in the published figure are in the same order by our counts."""
    theirs, ours = record.summary["densities"], _densities(record)
    return all((theirs[a] - theirs[b]) * (ours[a] - ours[b]) >= 0 for a, b in combinations(theirs, 2))


def _milliseconds(record: Record, name: str) -> list[float]:
    """Return the milliseconds per image, in the order of batch sizes."""
    by_batch = record.results[f"timed/{name}"]["seconds"]["by_batch"]
    return [1000 * seconds / int(size) for size, seconds in by_batch.items()]


def _linearity(record: Record) -> float:
    """Return R² of a linear fit of the time per image, in the largest batch, to the multiply-adds."""
    return correlation(_counts(record), _times(record)) ** 2


def _counts(record: Record) -> list[float]:
    return [float(_counted(record, name, "multiply_adds")) for name in record.settings["timed"]]


def _times(record: Record) -> list[float]:
    return [_milliseconds(record, name)[-1] for name in record.settings["timed"]]


def _gains(record: Record) -> dict[str, float]:
    """Return how many times faster each net processes an image in the largest batch than alone."""
    times = {name: _milliseconds(record, name) for name in record.settings["timed"]}
    return {name: taken[0] / taken[-1] for name, taken in times.items()}


def _times_smaller(record: Record, net: str) -> float:
    return _counted(record, "alexnet", "parameters") / _counted(record, net, "parameters")


def _minutes(record: Record) -> list[float]:
    """Return the minutes of training the best net, for each seed."""
    best = [result for key, result in record.results.items() if key.endswith("/best")]
    return [result["seconds_per_epoch"] * result["epochs"] / 60 for result in best]


def _linear(record: Record) -> Interval | None:
    """Return the interval of R² of the time per image and the multiply-adds, from one point a net."""
    found = correlation_interval(lambda _: (_counts(record), _times(record)))(record)
    return found and Interval(max(found.low, 0) ** 2, found.high**2)


def _gains_most(record: Record) -> list[float]:
    """Return how much more AlexNet gains from the largest batch than any other net, one value a measurement."""
    return [_gains(record)["alexnet"] - max(_others(record))]


CLAIMS = [
    Claim(
        "On all of Fashion-MNIST, the best small net reaches 92.5 % in 15 minutes on two cores",
        "91.6 % two convolutions, 93.5 % VGG-16 (submitted to the data set's authors, not verified)",
        RECORD,
        lambda r: f"{percentages('best')(r)} in {fmean(_minutes(r)):.0f} minutes",
        (above(student(lambda r: percent(r, "best")), 92.5, "%"), below(student(_minutes), 15, "minutes")),
        machine="processor",
    ),
    Claim(
        lambda r: f"A net like ResNet-18 reaches 95.5 % there in {r.settings['best_epochs']} epochs",
        "94.9 % ResNet-18, 95.9 % WRN-28-10 (submitted to the data set's authors, not verified)",
        GPU,
        percentages("best"),
        above(student(lambda r: percent(r, "best")), 95.5, "%"),
    ),
    Claim(
        "Multiply-adds of AlexNet, VGG, GoogLeNet and ResNets are the published ones to 1 %",
        "0.714, 15.47, 19.63, 1.498, 1.814 … 11.51 G (torchvision)",
        RECORD,
        lambda r: f"within {_deviation(r):.2%}",
        Exact(lambda r: _deviation(r) < 0.01, "count"),
    ),
    Claim(
        "GoogLeNet has 12 times fewer parameters than AlexNet",
        "12 times, 5 M (Szegedy et al. 2014, whose table sums to 6.8 M)",
        RECORD,
        lambda r: (
            f"{_times_smaller(r, 'googlenet'):.1f} times, {_counted(r, 'googlenet', 'parameters') / 1e6:.1f} M; "
            f"torchvision's form {_times_smaller(r, 'googlenet_bn'):.1f} times"
        ),
        Exact(lambda r: _times_smaller(r, "googlenet_bn") >= 11.5, "count"),
    ),
    Claim(
        "Accuracy for a million parameters: GoogLeNet first, then ResNets from shallow to deep, AlexNet, VGG last",
        "9.8, 5.9, 3.3, 2.9, 1.7, 1.2, 0.8, 0.4, 0.4 (Canziani et al. 2016, read off)",
        RECORD,
        lambda r: ", ".join(f"{density:.1f}" for density in _densities(r).values()),
        Exact(_same_order, "count"),
    ),
    Claim(
        "The time of an image is linear in its operations",
        "linear (Canziani et al. 2016, on a Jetson TX1)",
        RECORD,
        lambda r: f"R² = {_linearity(r):.2f} over {len(r.settings['timed'])} nets",
        above(_linear, 0.9, "= R² over nets"),
    ),
    Claim(
        "AlexNet, most of it linear layers, gains most from a larger batch",
        "linear layers are inefficient in small batches (Canziani et al. 2016)",
        RECORD,
        lambda r: (
            f"{_gains(r)['alexnet']:.1f} times faster; the others {min(_others(r)):.1f} to {max(_others(r)):.1f} times"
        ),
        above(student(_gains_most), 0, "times"),
    ),
]


def _others(record: Record) -> list[float]:
    return [gain for name, gain in _gains(record).items() if name != "alexnet"]
