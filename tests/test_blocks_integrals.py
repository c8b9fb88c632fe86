"""Integrals of one forward pass are not copied nor pickled with their block."""

from __future__ import annotations

import copy
import pickle

import torch

from odenet.blocks.integrals import Integrals


def test_the_penalty_is_the_weighted_sum_of_the_means() -> None:
    integrals = Integrals({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([4.0, 0.0])}, {"a": 0.5, "b": 10.0})
    assert float(integrals.penalty) == 21.0


def test_a_copy_is_empty() -> None:
    integrals = Integrals({"a": torch.ones(2, requires_grad=True) * 2}, {"a": 1.0})
    for again in (copy.deepcopy(integrals), copy.copy(integrals), pickle.loads(pickle.dumps(integrals))):
        assert isinstance(again, Integrals)
        assert not again
