"""Networks, built from flows (ODE blocks, which keep the shape) and transitions (which change resolution or width).

Constructors follow torchvision's habit: `resnet18(num_classes=1000, in_channels=3)`.
"""

from odenet.models.alexnet import AlexNet, alexnet
from odenet.models.alexnet_towers import TwoTowerAlexNet, alexnet_towers
from odenet.models.deconvnet import DeconvNet, deconvnet
from odenet.models.detection import Pyramid, faster_rcnn, fcos, mask_rcnn, pyramid, retinanet
from odenet.models.fcn import FCN, FullResolution, fcn, fcn8s, fcn16s, fcn32s, with_skip
from odenet.models.fcn_trunks import Backbone, backbone_of, plain_backbone
from odenet.models.googlenet import GoogLeNet, GoogLeNetOutput, googlenet, googlenet_bn
from odenet.models.identity_layers import add_identity_layers
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
from odenet.models.registry import get_constructor, get_model, list_models
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
from odenet.models.resnext import (
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from odenet.models.sigmoid import SigmoidChain, SigmoidMLP
from odenet.models.sliding_window import (
    DenseClassifier,
    PatchClassifier,
    SlidingWindow,
    a_trous,
    patch_backbone,
    shift_and_stitch,
)
from odenet.models.stochastic_depth import set_stochastic_depth
from odenet.models.torchvision_detection import (
    detector_from_torchvision,
    detector_to_torchvision,
    fasterrcnn_resnet50_fpn,
    fcos_resnet50_fpn,
    maskrcnn_resnet50_fpn,
    retinanet_resnet50_fpn,
)
from odenet.models.torchvision_googlenet import googlenet_from_torchvision
from odenet.models.torchvision_resnet import from_torchvision, to_torchvision
from odenet.models.unet import UNet, unet
from odenet.models.vgg import VGG, vgg16, vgg19

__all__ = [
    "FCN",
    "VGG",
    "AlexNet",
    "Backbone",
    "DeconvNet",
    "DenseClassifier",
    "FullResolution",
    "GoogLeNet",
    "GoogLeNetOutput",
    "PatchClassifier",
    "Pyramid",
    "ResNet",
    "SigmoidChain",
    "SigmoidMLP",
    "SlidingWindow",
    "TwoTowerAlexNet",
    "UNet",
    "a_trous",
    "add_identity_layers",
    "alexnet",
    "alexnet_towers",
    "backbone_of",
    "cifar_resnet",
    "deconvnet",
    "detector_from_torchvision",
    "detector_to_torchvision",
    "faster_rcnn",
    "fasterrcnn_resnet50_fpn",
    "fcn",
    "fcn8s",
    "fcn16s",
    "fcn32s",
    "fcos",
    "fcos_resnet50_fpn",
    "from_torchvision",
    "get_constructor",
    "get_model",
    "googlenet",
    "googlenet_bn",
    "googlenet_from_torchvision",
    "imagenet_resnet",
    "list_models",
    "mask_rcnn",
    "maskrcnn_resnet50_fpn",
    "ode_net",
    "patch_backbone",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "plain110",
    "plain_backbone",
    "pyramid",
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
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "retinanet",
    "retinanet_resnet50_fpn",
    "rk_net",
    "set_stochastic_depth",
    "shift_and_stitch",
    "to_torchvision",
    "unet",
    "vgg16",
    "vgg19",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "with_skip",
]
