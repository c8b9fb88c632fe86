"""Copies to a device leave numbers and layout as they are."""

from __future__ import annotations

import pytest
import torch

from odenet.data.transfer import sent_to


def test_numbers_that_are_there_already_are_not_copied() -> None:
    numbers = torch.rand(3)
    assert sent_to(torch.device("cpu"), numbers) is numbers


@pytest.mark.parametrize("shape", [(0,), (5, 2)])
def test_what_is_sent_has_the_dtype_and_shape_that_it_had(shape: tuple[int, ...]) -> None:
    sent = sent_to(torch.device("meta"), torch.zeros(shape, dtype=torch.int64))
    assert (sent.shape, sent.dtype, sent.device.type) == (shape, torch.int64, "meta")


@pytest.mark.gpu
def test_a_gpu_gets_the_numbers_and_the_host_does_not_wait_for_it() -> None:
    numbers = torch.rand(1000, 1000)
    sent_to(torch.device("cuda"), numbers)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sent = sent_to(torch.device("cuda"), numbers)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(sent.cpu(), numbers)
