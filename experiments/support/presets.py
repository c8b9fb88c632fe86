"""Settings of the training that the presets for a GPU share."""

from __future__ import annotations

from typing import Any

ON_A_GPU: dict[str, Any] = {"batch_size": 512, "precision": "bf16-mixed", "channels_last": True, "threads": None}
"""Fields of `Training` with which small images keep a GPU at work: an epoch of 60,000 images is 117 steps."""
