"""A learning rate is chosen by a score on validation data, and the scores are kept."""

from __future__ import annotations

import math
from pathlib import Path

from experiments.support.rates import TUNING, VALIDATION, best_rate
from odenet.training import NonFiniteLoss, Run


def test_the_rate_with_the_best_score_is_chosen_and_the_scores_are_results(tmp_path: Path) -> None:
    with Run.open("e", {}, tmp_path / "run.json") as run:
        assert best_rate("net", (0.1, 0.2, 0.4), lambda rate: -abs(rate - 0.2), run) == 0.2
        assert list(run.record.results) == ["rate/net/0.1", "rate/net/0.2", "rate/net/0.4"]


def test_a_run_that_goes_on_trains_no_rate_again(tmp_path: Path) -> None:
    tried: list[float] = []

    def score(rate: float) -> float:
        tried.append(rate)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return rate

    for _ in range(2):
        try:
            with Run.open("e", {}, tmp_path / "run.json") as run:
                best_rate("net", (0.1, 0.2), score, run)
        except KeyboardInterrupt:
            continue
    assert tried == [0.1, 0.2, 0.2]


def test_a_training_that_diverges_has_the_lowest_score(tmp_path: Path) -> None:
    def score(rate: float) -> float:
        if rate > 1:
            raise NonFiniteLoss("nan")
        return 0.0

    with Run.open("e", {}, tmp_path / "run.json") as run:
        assert best_rate("net", (10.0, 0.1), score, run) == 0.1
        assert run.record.results["rate/net/10"]["score"] == -math.inf


def test_a_single_rate_needs_no_training(tmp_path: Path) -> None:
    with Run.open("e", {}, tmp_path / "run.json") as run:
        assert best_rate("net", (0.1,), lambda _: 1 / 0, run) == 0.1
        assert run.record.results == {}


def test_no_scene_that_a_rate_is_chosen_on_is_trained_on() -> None:
    assert TUNING != VALIDATION
