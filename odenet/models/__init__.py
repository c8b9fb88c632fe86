"""Networks: chains of flows (ODE blocks, which keep the shape) and transitions (which change resolution or width).

Constructors follow torchvision's habit: `resnet18(num_classes=1000, in_channels=3)`.
"""

from odenet.models.odenet import ode_net, res_net, rk_net
from odenet.models.plain import (
    plain18,
    plain20,
    plain32,
    plain34,
    plain44,
    plain56,
    plain110,
)
from odenet.models.resnet import (
    ResNet,
    cifar_resnet,
    imagenet_resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
    resnet1202,
)

__all__ = [
    "ResNet",
    "cifar_resnet",
    "imagenet_resnet",
    "ode_net",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "plain110",
    "res_net",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnet1202",
    "rk_net",
]
