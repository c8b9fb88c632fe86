"""Verdicts and table of `is_it_an_ode`."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record


def verdict(results: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Decide by the distance to the flow whether the net is an ODE; return that with a sentence that explains it.

    The distance is that of final states with recalibrated statistics, if it was measured, and else that of outputs.
    """
    answers = results[f"{key}/answers"]
    own = answers.get("recalibrated") or answers.get("none")
    distance = own["own"]["distance"] if own else results[f"{key}/solvers"]["distance"]["rk4×8"]
    rough = fmean(flat(results[f"{key}/smoothness"]["theta"]))
    answer = "yes" if distance < 0.02 else "nearly" if distance < 0.1 else "no"
    kind = "alike" if rough < 0.5 else "unrelated" if rough > 1.2 else "related"
    words = (
        f"{answer}: the flow of its field ends {100 * distance:.0f} % away, and neighbouring θ are {kind} ({rough:.2f})"
    )
    return {"answer": answer, "distance": distance, "roughness": rough, "words": words}


def flat(blocks: list[list[float]]) -> list[float]:
    """Return the values of all blocks in one list; 0 if no block has neighbouring pieces."""
    return [value for block in blocks for value in block] or [0.0]


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each net: means and standard deviations over the seeds, and the verdicts."""
    names = dict.fromkeys(key.split("/")[1] for key in record.results)
    return [_row(record, name) for name in names]


def _row(record: Record, name: str) -> dict[str, Any]:
    def found(question: str, entry: str) -> list[Any]:
        return over_seeds(record.results, f"{name}/{question}", entry)

    def answers(kinds: tuple[str, ...], way: str, entry: str) -> str:
        seeds = [result for key, result in record.results.items() if key.partition("/")[2] == f"{name}/answers"]
        known = [100 * each[kind][way][entry] for each in seeds for kind in kinds if kind in each]
        return spread(known) if known else "–"

    def lesion(kind: str) -> str:
        return spread(100 * fmean(flat(blocks)) for blocks in found("lesions", kind))

    best = ("recalibrated", "none")
    verdicts = found("verdict", "answer")
    return {
        "net": name,
        "accuracy %": answers(best, "own", "accuracy"),
        "as flow %": answers(best, "flow", "accuracy"),
        "agreement %": answers(best, "own", "agreement"),
        "distance %": spread(100 * distance for distance in found("verdict", "distance")),
        "with running statistics": answers(("running",), "own", "distance"),
        "order of Euler": spread(found("order", "order"), 2),
        "roughness of θ": spread(found("verdict", "roughness"), 2),
        "a layer dropped %": lesion("dropped"),
        "two swapped %": lesion("swapped"),
        "an ODE?": ", ".join(dict.fromkeys(verdicts)),
    }
