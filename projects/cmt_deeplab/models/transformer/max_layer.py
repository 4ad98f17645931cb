"""The dual-path transformer layer (MaX-DeepLab, section 3.2)."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.norm import build_norm

from .center_blocks import (
    CenterFeedForward,
    RetrievedUpdate,
    fp32_softmax,
    merge_heads,
    split_heads,
)
from .layer_output import LayerOutput


@MODELS.register_module()
class MaXLayer(nn.Module):
    """The memory (the cluster centers) reads pixels and memory in one attention, the pixels read the memory in another.

    ``memory``: one softmax over the HW pixels AND the N centers, so that the two compete for a center's attention; then a feed-forward.
    ``pixels``: a softmax over the N centers of the pixels' own queries. Both read the centers as they entered. Each attention has its own
    similarity norm of h channels in place of 1/sqrt(d). No location, no residual logits, no clustering: those are ``CMTLayer``'s.

    Arguments are those of :class:`CMTLayer`; MaX-DeepLab has no prediction before its last, so decoders of it set ``deep_supervision``
    off. Source: deeplab2 code (``dual_path_transformer.py``).
    """

    consumes_prediction = False

    def __init__(
        self,
        *,
        pixel_channels: int,
        center_channels: int,
        num_classes: int,
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
        predictor: dict | None,
        drop_path: float = 0.0,
        hidden_channels: int = 256,
        heads: int = 8,
        key_channels: int = 128,
        value_channels: int = 256,
        ffn_channels: int = 2048,
        pixel_update: bool = True,
        mask_padding: bool = False,
    ) -> None:
        super().__init__()
        if key_channels % heads or value_channels % heads:
            raise UserError(
                f'MaXLayer: key_channels {key_channels} and value_channels {value_channels} must be multiples of heads '
                f'{heads}'
            )
        self.heads, self.mask_padding = heads, mask_padding
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        update = dict(common, drop_path=drop_path)
        self.act = build_activation(act_cfg)
        self.pixel_project = ConvNorm(pixel_channels, hidden_channels, **common)
        self.center_project = ConvNorm(center_channels, hidden_channels, **common)

        std = hidden_channels**-0.5
        self.pixel_depths = [
            key_channels if pixel_update else 0,
            key_channels,
            value_channels,
        ]  # query, key, value
        self.center_depths = [key_channels, key_channels, value_channels]
        self.pixel_qkv = ConvNorm(
            hidden_channels, sum(self.pixel_depths), norm_cfg=norm_cfg, weight_std=std
        )
        self.center_qkv = ConvNorm(
            hidden_channels, sum(self.center_depths), norm_cfg=norm_cfg, weight_std=std
        )
        self.memory_similarity_norm = build_norm(norm_cfg, heads)
        self.memory_update = RetrievedUpdate(value_channels, center_channels, **update)
        self.ffn = CenterFeedForward(center_channels, ffn_channels, **update)
        self.pixel_similarity_norm = build_norm(norm_cfg, heads) if pixel_update else None
        self.pixel_update = (
            RetrievedUpdate(value_channels, pixel_channels, **update) if pixel_update else None
        )
        self.predictor = (
            None
            if predictor is None
            else MODELS.build(
                dict(
                    predictor,
                    pixel_channels=hidden_channels,
                    center_channels=hidden_channels,
                    num_classes=num_classes,
                    project_centers=False,
                    **common,
                )
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
        """See :meth:`CMTLayer.forward`; the previous logits are not read. The logits handed on are those of the pixels' attention,
        (B, h, N, H, W); without ``pixel_update`` those of the memory's attention over the pixels."""
        size, num_pixels = pixels.shape[-2:], pixels.shape[-2] * pixels.shape[-1]
        own_pixels, own_centers = self.pixel_project(self.act(pixels)), self.center_project(centers)
        prediction = (
            self.predictor(own_pixels, own_centers)
            if predict and self.predictor is not None
            else None
        )
        pixel_query, pixel_key, pixel_value = (
            split_heads(part, self.heads)
            for part in self.pixel_qkv(own_pixels).flatten(2).split(self.pixel_depths, 1)
        )
        query, key, value = (
            split_heads(part, self.heads)
            for part in self.center_qkv(own_centers).split(self.center_depths, 1)
        )

        keys, values = (
            torch.cat([pixel_key, key], dim=3),
            torch.cat([pixel_value, value], dim=3),
        )  # (B, h, d, HW + N)
        similarity = self.memory_similarity_norm(query.transpose(2, 3) @ keys)  # (B, h, N, HW + N)
        handed_on = similarity[..., :num_pixels]
        if valid is not None and self.mask_padding:
            absent = nn.functional.pad(
                valid.flatten(2).unsqueeze(1) == 0, (0, centers.shape[2]), value=False
            )  # (B, 1, 1, HW + N)
            similarity = similarity.masked_fill(absent, float('-inf'))
        retrieved = merge_heads(
            values @ fp32_softmax(similarity, dim=3).transpose(2, 3)
        )  # (B, Dv, N)
        updated = self.act(centers + self.memory_update(retrieved))
        updated = self.act(updated + self.ffn(updated))

        if self.pixel_update is not None:
            handed_on = self.pixel_similarity_norm(
                key.transpose(2, 3) @ pixel_query
            )  # (B, h, N, HW)
            retrieved = merge_heads(value @ fp32_softmax(handed_on, dim=2)).unflatten(
                -1, size
            )  # (B, Dv, H, W)
            pixels = pixels + self.pixel_update(retrieved)
        return LayerOutput(pixels, updated, handed_on.unflatten(-1, size), prediction)
