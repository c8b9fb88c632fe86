"""Contestants take turns, warm-up rounds do not count, and each batch size is timed at that size."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from odenet.measure import interleaved, latencies, ratio


def test_contestants_take_turns_in_alternating_order_after_the_rounds_that_do_not_count():
    order: list[str] = []
    seconds = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 3, warm_up=1)
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_seconds_are_those_between_the_beginning_and_the_end_of_each(monkeypatch):
    now = [0.0]

    def take(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("odenet.measure.latency.time", SimpleNamespace(perf_counter=lambda: now[0]))
    found = interleaved({"short": lambda: take(0.25), "long": lambda: take(1.0)}, 3, warm_up=1)
    assert found == {"short": [0.25] * 3, "long": [1.0] * 3}


def test_the_ratio_is_taken_within_rounds():
    assert ratio({"a": [1.0, 20.0, 3.0], "b": [1.0, 10.0, 1.0]}, "a", "b") == 2


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="repetitions must be a whole number of at least 1, got 0"):
        interleaved({"a": lambda: None}, 0)


class Spy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.seen: Counter[tuple[int, ...]] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        assert x.dtype == torch.float64
        self.seen[tuple(x.shape)] += 1
        return x


def test_each_batch_size_is_timed_in_evaluation_mode_without_gradients_in_the_nets_precision():
    net = Spy()
    seconds = latencies(net, (3, 4, 5), [1, 8], repetitions=2, warm_up=1)
    assert net.seen == {(1, 3, 4, 5): 3, (8, 3, 4, 5): 3}
    assert list(seconds) == [1, 8]
    assert all(value > 0 for value in seconds.values())
    assert net.training
