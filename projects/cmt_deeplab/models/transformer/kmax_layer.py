"""The k-means cross-attention layer (kMaX-DeepLab, section 3.2)."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.precision import at_least_fp32

from .center_blocks import CenterFeedForward, CenterSelfAttention, RetrievedUpdate
from .layer_output import LayerOutput


class _PooledUpdate(RetrievedUpdate):
    """The k-means update has no activation between its two norms [deeplab2, kmax-deeplab]."""

    def __init__(
        self, value_channels: int, out_channels: int, *, norm_cfg: dict | None, drop_path: float
    ) -> None:
        super().__init__(
            value_channels, out_channels, norm_cfg=norm_cfg, act_cfg=None, drop_path=drop_path
        )


@MODELS.register_module()
class KMaXLayer(nn.Module):
    """Cluster centers move to the sum of the pixels whose mask logit is largest for them; the assignment carries no gradient.

    The layer consumes its own prediction, so its ``predictor`` sub-config is required and runs at inference too. Pixels are not updated.
    """

    consumes_prediction = True

    def __init__(
        self,
        *,
        pixel_channels: int,
        center_channels: int,
        num_classes: int,
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
        predictor: dict,
        drop_path: float = 0.0,
        hidden_channels: int = 256,
        heads: int = 8,
        key_channels: int = 128,
        value_channels: int = 256,
        ffn_channels: int = 2048,
    ) -> None:
        super().__init__()
        if predictor is None:
            raise UserError(
                'KMaXLayer assigns pixels by its own mask logits: give it a predictor (deep supervision cannot be off)'
            )
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        update = dict(common, drop_path=drop_path)
        self.act = build_activation(act_cfg)
        self.pixel_project = ConvNorm(pixel_channels, hidden_channels, **common)
        self.center_project = ConvNorm(center_channels, hidden_channels, **common)
        self.pixel_value = ConvNorm(
            hidden_channels, value_channels, norm_cfg=norm_cfg, weight_std=hidden_channels**-0.5
        )
        self.pooled_update = _PooledUpdate(
            value_channels, center_channels, norm_cfg=norm_cfg, drop_path=drop_path
        )
        self.self_attention = CenterSelfAttention(
            hidden_channels,
            center_channels,
            heads=heads,
            key_channels=key_channels,
            value_channels=value_channels,
            **update,
        )
        self.ffn = CenterFeedForward(center_channels, ffn_channels, **update)
        self.predictor = MODELS.build(
            dict(
                predictor,
                pixel_channels=hidden_channels,
                center_channels=hidden_channels,
                num_classes=num_classes,
                project_centers=False,
                **common,
            )
        )

    def forward(
        self,
        pixels: Tensor,
        centers: Tensor,
        logits: Tensor | None,
        *,
        valid: Tensor | None = None,
        predict: bool = False,
    ) -> LayerOutput:
        """See :meth:`CMTLayer.forward`; the previous logits and ``valid`` are not read."""
        own_pixels = self.pixel_project(self.act(pixels))
        own_centers = self.center_project(centers)
        prediction = self.predictor(own_pixels, own_centers)
        pooled = self.pool(
            self.assign(prediction.mask_logits), self.pixel_value(own_pixels), centers.shape[2]
        )
        updated = self.act(centers + self.pooled_update(pooled) + self.self_attention(own_centers))
        updated = self.act(updated + self.ffn(updated))
        return LayerOutput(
            pixels, updated, prediction.mask_logits.unsqueeze(1), prediction if predict else None
        )

    def assign(self, mask_logits: Tensor) -> Tensor:
        """Index of the center that each pixel belongs to, (B, H, W) int64, without gradient."""
        return mask_logits.detach().argmax(dim=1)

    def pool(self, assignment: Tensor, value: Tensor, num_centers: int) -> Tensor:
        """Sum of the values (B, Dv, H, W) over each center's pixels, in fp32 since thousands of pixels add up: (B, Dv, N)."""
        index = assignment.flatten(1).unsqueeze(1)  # (B, 1, HW)
        with torch.autocast(value.device.type, enabled=False):
            value = at_least_fp32(value).flatten(2)
            member = value.new_zeros(index.shape[0], num_centers, index.shape[2]).scatter_(
                1, index, 1.0
            )
            return value @ member.transpose(1, 2)
