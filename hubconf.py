"""Entry points of torch.hub: `torch.hub.load(REPOSITORY, "resnet20", num_classes=10)` needs no installation of odenet.

REPOSITORY is OWNER/NAME on GitHub, or with source="local" the folder of a clone.
"""

from odenet.models import get_constructor as _get_constructor
from odenet.models import list_models as _list_models

dependencies = ["torch", "torchdiffeq", "numpy"]

# torch.hub takes every callable of this module whose name has no underscore in front.
__all__ = _list_models()  # pyright: ignore[reportUnsupportedDunderAll]
globals().update({name: _get_constructor(name) for name in __all__})
