"""Positions count the evaluations on each piece, and go back to a snapshot."""

from __future__ import annotations

from odenet.blocks.replay.positions import Positions


def test_evaluations_are_numbered_on_each_piece() -> None:
    positions = Positions(2)
    assert [positions.next(piece) for piece in (0, 0, 1, 0, 1)] == [0, 1, 0, 2, 1]


def test_a_snapshot_is_restored_as_often_as_asked() -> None:
    positions = Positions(1)
    positions.record()
    positions.next(0)
    positions.record()
    for snapshot in (0, 1, 0):
        positions.restore(snapshot)
        assert [positions.next(0), positions.next(0)] == [snapshot, snapshot + 1]


def test_snapshots_are_numbered_anew_after_clear() -> None:
    positions = Positions(1)
    positions.record()
    positions.clear()
    positions.next(0)
    positions.record()
    positions.restore(0)
    assert positions.next(0) == 1


def test_numbers_are_preserved_by_a_context() -> None:
    positions = Positions(1)
    with positions.preserved():
        positions.next(0)
    assert positions.next(0) == 0


def test_after_forget_no_number_is_known() -> None:
    positions = Positions(1)
    positions.record()
    positions.forget()
    positions.record()
    positions.restore(0)
    with positions.preserved():
        assert positions.next(0) is None
