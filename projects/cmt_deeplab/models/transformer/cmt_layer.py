"""The clustering mask transformer layer (CMT-DeepLab, section 3; model.md section 1)."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.precision import at_least_fp32

from .center_blocks import (
    CenterFeedForward,
    CenterSelfAttention,
    RetrievedUpdate,
    fp32_softmax,
    merge_heads,
    split_heads,
)
from .layer_output import LayerOutput
from .location import ReferenceMask, coordinate_planes


@MODELS.register_module()
class CMTLayer(nn.Module):
    """Assigns pixels to cluster centers, updates the centers from their pixels and the pixels from their centers.

    All three steps read one set of assignment logits ``S = norm(Q K^T) + resize(S')`` with S' of the layer before. Each ingredient is one
    switch: ``clustering_update`` (softmax over centers, pooled over pixels), ``spatial_attention`` (softmax over pixels),
    ``pixel_update``, ``residual_logits``, ``reference_mask`` and ``coordinate_conv``. ``pooling`` 'sum' or 'mean' of a center's pixels.
    ``similarity_gamma`` is the initial scale of the assignment logits: short schedules start above 1, for an adaptive optimizer moves it by
    one learning rate a step. ``assignment`` 'softmax' shares a pixel among the centers, 'kmeans' gives it, per head, to the one of the
    largest logit, without gradient as in kMaX-DeepLab: the spatial softmax then trains the logits alone.
    ``mask_padding`` keeps padded pixels out of the spatial softmax and the pooling; the sources let them take part.
    ``predictor`` is the sub-config of the layer's own prediction for deep supervision, None for none.
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
        num_points: int = 5,
        pooling: str = 'sum',
        assignment: str = 'softmax',
        similarity_gamma: float = 1.0,
        clustering_update: bool = True,
        spatial_attention: bool = True,
        pixel_update: bool = True,
        residual_logits: bool = True,
        reference_mask: bool = True,
        coordinate_conv: bool = True,
        mask_padding: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in ('sum', 'mean'):
            raise UserError(f"CMTLayer: pooling must be 'sum' or 'mean', not {pooling!r}")
        if assignment not in ('softmax', 'kmeans'):
            raise UserError(
                f"CMTLayer: assignment must be 'softmax' or 'kmeans', not {assignment!r}"
            )
        if assignment == 'kmeans' and not spatial_attention:
            raise UserError(
                "CMTLayer: assignment 'kmeans' has no gradient, and nothing trains its logits without spatial_attention; keep it"
            )
        if key_channels % heads or value_channels % heads:
            raise UserError(
                f'CMTLayer: key_channels {key_channels} and value_channels {value_channels} must be multiples of heads {heads}'
            )
        if not (clustering_update or spatial_attention):
            raise UserError(
                'CMTLayer: without clustering_update and spatial_attention the centers hear nothing of the pixels; keep one'
            )
        self.heads, self.pooling, self.assignment, self.align_corners = (
            heads,
            pooling,
            assignment,
            align_corners,
        )
        self.residual_logits, self.mask_padding = residual_logits, mask_padding
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        update = dict(common, drop_path=drop_path)
        self.reference_mask = (
            ReferenceMask(center_channels, num_points=num_points, **common)
            if reference_mask
            else None
        )
        self.coordinate_conv = coordinate_conv
        self.act = build_activation(act_cfg)
        self.pixel_project = ConvNorm(
            pixel_channels + 2 * coordinate_conv, hidden_channels, **common
        )
        self.center_project = ConvNorm(
            center_channels + 2 * num_points * reference_mask, hidden_channels, **common
        )

        std = hidden_channels**-0.5
        self.pixel_depths = [key_channels, value_channels]
        self.pixel_kv = ConvNorm(
            hidden_channels, sum(self.pixel_depths), norm_cfg=norm_cfg, weight_std=std
        )
        self.center_depths = [key_channels, value_channels if pixel_update else 0]
        self.center_qv = ConvNorm(
            hidden_channels, sum(self.center_depths), norm_cfg=norm_cfg, weight_std=std
        )
        self.similarity_norm = build_norm(norm_cfg, heads, gamma=similarity_gamma)
        self.cross_update = (
            RetrievedUpdate(value_channels, center_channels, **update)
            if spatial_attention
            else None
        )
        self.cluster_update = (
            RetrievedUpdate(value_channels, center_channels, **update)
            if clustering_update
            else None
        )
        self.pixel_update = (
            RetrievedUpdate(value_channels, pixel_channels, **update) if pixel_update else None
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
        """``pixels`` (B, Dp, H, W), ``centers`` (B, D, N), ``logits`` (B, h, N, H', W') of the layer before or None, ``valid``
        (B, 1, H, W) 1 inside the image and 0 on padding."""
        size = pixels.shape[-2:]
        points, own_pixels, own_centers = self.locate(pixels, centers)
        prediction = (
            self.predictor(own_pixels, own_centers, points)
            if predict and self.predictor is not None
            else None
        )

        key, pixel_value = (
            split_heads(part, self.heads)
            for part in self.pixel_kv(own_pixels).flatten(2).split(self.pixel_depths, 1)
        )
        query, center_value = (
            split_heads(part, self.heads)
            for part in self.center_qv(own_centers).split(self.center_depths, 1)
        )
        similarity = self.assignment_logits(query, key, logits, size)  # (B, h, N, HW)
        if self.cluster_update is not None or self.pixel_update is not None:
            assignment = self.assign(similarity)

        padding = (
            None if valid is None or not self.mask_padding else valid.flatten(2).unsqueeze(1) == 0
        )  # (B, 1, 1, HW)
        updated = centers
        if self.cross_update is not None:
            spatial = (
                similarity if padding is None else similarity.masked_fill(padding, float('-inf'))
            )
            updated = updated + self.cross_update(
                merge_heads(pixel_value @ fp32_softmax(spatial, dim=3).transpose(2, 3))
            )
        if self.cluster_update is not None:
            updated = updated + self.cluster_update(self.pool(assignment, pixel_value, padding))
        updated = self.act(updated + self.self_attention(own_centers))
        updated = self.act(updated + self.ffn(updated))
        if self.pixel_update is not None:
            pixels = pixels + self.pixel_update(
                merge_heads(center_value @ assignment).unflatten(-1, size)
            )
        return LayerOutput(pixels, updated, similarity.unflatten(-1, size), prediction)

    def locate(self, pixels: Tensor, centers: Tensor):
        """Step 0: reference points, projected pixels (B, 256, H, W) and projected centers (B, 256, N)."""
        points = None if self.reference_mask is None else self.reference_mask(centers)
        if points is not None:
            centers = torch.cat(
                [centers, (2 * points - 1).flatten(2).transpose(1, 2).to(centers.dtype)], dim=1
            )
        pixels = self.act(pixels)
        if self.coordinate_conv:
            planes = coordinate_planes(pixels, align_corners=self.align_corners)
            pixels = torch.cat([pixels, planes.expand(pixels.shape[0], -1, -1, -1)], dim=1)
        return points, self.pixel_project(pixels), self.center_project(centers)

    def assignment_logits(
        self, query: Tensor, key: Tensor, previous: Tensor | None, size
    ) -> Tensor:
        """Step 1: per-head affinity, normalized, plus the logits of the layer before at this stride; (B, h, N, HW)."""
        similarity = self.similarity_norm(query.transpose(-1, -2) @ key)
        if previous is None or not self.residual_logits:
            return similarity
        if previous.shape[-2:] != size:
            previous = resize(previous.flatten(1, 2), size, align_corners=self.align_corners).view(
                *previous.shape[:3], *size
            )
        return similarity + previous.flatten(3)

    def assign(self, similarity: Tensor) -> Tensor:
        """Every pixel chooses its centers: shares (B, h, N, HW) that sum to 1 over N."""
        if self.assignment == 'softmax':
            return fp32_softmax(similarity, dim=2)
        return torch.zeros_like(similarity).scatter_(
            2, similarity.detach().argmax(dim=2, keepdim=True), 1.0
        )

    def pool(self, assignment: Tensor, value: Tensor, padding: Tensor | None) -> Tensor:
        """Step 2: the values of a center's pixels, summed or averaged, in fp32 since thousands of pixels add up; (B, Dv, N)."""
        with torch.autocast(value.device.type, enabled=False):
            weights = at_least_fp32(assignment)
            if padding is not None:
                weights = weights.masked_fill(padding, 0.0)
            pooled = at_least_fp32(value) @ weights.transpose(2, 3)  # (B, h, Dv/h, N)
            if self.pooling == 'mean':
                pooled = pooled / weights.sum(3).unsqueeze(2).clamp(min=1e-3)
        return merge_heads(pooled)
