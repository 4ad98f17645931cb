"""From pixels and cluster centers to masks and classes; one form for all stages."""

from math import log

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.models.blocks.conv_norm import ConvNorm
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction


@MODELS.register_module()
class CMTPredictor(nn.Module):
    """Mask logits = normalized pixel features . mask kernels of the centers, then one scalar norm; class logits with a bias towards void.

    ``project_centers`` adds the two 1x1 projections of the final predictor, to ``center_hidden_channels`` (None: ``hidden_channels``); a
    layer's own predictor reads its projected centers directly.
    ``mask_gamma`` is the initial scale of the mask logits: an adaptive optimizer moves it by one learning rate a step, so short
    schedules start above the sources' 0.1. Source: deeplab2 ``MaXDeepLabHead``, ``kMaXPredictor``.
    """

    def __init__(
        self,
        *,
        pixel_channels: int,
        center_channels: int,
        num_classes: int,
        norm_cfg: dict | None,
        act_cfg: dict,
        project_centers: bool,
        hidden_channels: int = 256,
        feature_channels: int = 128,
        mask_gamma: float = 0.1,
        void_prior: float = 0.9,
        center_hidden_channels: int | None = None,
    ) -> None:
        super().__init__()
        common = dict(norm_cfg=norm_cfg)
        self.pixel_head = nn.Sequential(
            ConvNorm(
                pixel_channels, pixel_channels, 5, groups=pixel_channels, act_cfg=act_cfg, **common
            ),
            ConvNorm(pixel_channels, hidden_channels, act_cfg=act_cfg, **common),
            ConvNorm(hidden_channels, feature_channels, bias=True, weight_std=0.01, **common),
        )
        projected = center_hidden_channels or hidden_channels
        if project_centers:
            self.class_projection = ConvNorm(center_channels, projected, act_cfg=act_cfg, **common)
            self.mask_projection = ConvNorm(center_channels, projected, act_cfg=act_cfg, **common)
        else:
            self.class_projection = self.mask_projection = nn.Identity()
        kernel_inputs = projected if project_centers else center_channels
        self.mask_head = ConvNorm(kernel_inputs, feature_channels, **common)
        self.class_head = ConvNorm(
            kernel_inputs, num_classes + 1, norm_cfg=None, bias=True, weight_std=0.01
        )
        self.mask_norm = build_norm(norm_cfg, 1, gamma=mask_gamma)
        void_bias = torch.zeros(num_classes + 1)
        void_bias[-1] = log(num_classes * void_prior / (1 - void_prior))
        self.register_buffer('void_bias', void_bias, persistent=False)

    def forward(
        self, pixels: Tensor, centers: Tensor, reference_points: Tensor | None = None
    ) -> MaskPrediction:
        """``pixels`` (B, Dp, H, W) and ``centers`` (B, D, N)."""
        features = F.normalize(at_least_fp32(self.pixel_head(pixels)), dim=1)  # (B, 128, H, W)
        kernels = self.mask_head(self.mask_projection(centers))  # (B, 128, N)
        class_logits = self.class_head(self.class_projection(centers)).transpose(
            1, 2
        )  # (B, N, C+1)
        logits = kernels.transpose(1, 2) @ features.flatten(2)  # (B, N, HW)
        mask_logits = (
            self.mask_norm(logits.unsqueeze(1)).squeeze(1).unflatten(-1, features.shape[-2:])
        )
        return MaskPrediction(
            mask_logits=mask_logits,
            class_logits=class_logits + self.void_bias,
            pixel_features=features,
            reference_points=reference_points,
        )
