"""Backbones that mmdet lacks; usable under any of its models."""

from .axial_resnet import AxialResNet
from .max_wide_resnet import MaXWideResNet
from .panoptic_resnet import PanopticResNet
from .swin_transformer import PanopticSwinTransformer
from .timm_backbone import TimmBackbone
from .timm_vit import TimmViT
