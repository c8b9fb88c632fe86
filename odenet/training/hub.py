"""Networks on the Hugging Face Hub, or in a folder as it has them; needs `pip install 'odenet[hub]'`.

from odenet.training.hub import HubModel

HubModel(net, partial(resnet20, num_classes=10)).push_to_hub("USER/NAME")
net = HubModel.from_pretrained("USER/NAME").network
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from odenet.blocks.extras import Extra
from odenet.training.saved_models import construction_of, load_model, save_model

with Extra("hub"):
    from huggingface_hub import ModelHubMixin, hf_hub_download  # pyright: ignore[reportMissingImports]

FILE = "model.safetensors"
"""File of the network, as `save_model` writes it."""


class HubModel(  # pyright: ignore[reportGeneralTypeIssues]
    nn.Module,
    ModelHubMixin,
    library_name="odenet",  # pyright: ignore[reportCallIssue]
    tags=["neural-ode", "residual-network"],  # pyright: ignore[reportCallIssue]
):
    """Network with the methods of Hugging Face's `ModelHubMixin`: `save_pretrained`, `push_to_hub`, `from_pretrained`.

    The file is that of `save_model`: it holds the name of the constructor with its arguments and the settings of every
    block besides the weights, so that a network that was refined, or has another solver, is restored exactly.

    Args:
        network: Network to save or use.
        construction: Function that made the network, as `save_model` takes it: `partial(resnet20, num_classes=2)`.
    """

    def __init__(self, network: nn.Module, construction: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.network, self._construction = network, construction

    def forward(self, *inputs: Any) -> Any:
        """Return the output of the network."""
        return self.network(*inputs)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the network to a folder; `save_pretrained` and `push_to_hub` call it."""
        save_model(self.network, save_directory / FILE, self._construction)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        map_location: str | torch.device = "cpu",
        **_: Any,
    ) -> Self:
        """Read the network of a folder, or download it first; `from_pretrained` calls it."""
        path = Path(model_id) / FILE
        if not Path(model_id).is_dir():
            path = Path(
                hf_hub_download(
                    model_id,
                    FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        return cls(load_model(path).to(map_location), construction_of(path))
