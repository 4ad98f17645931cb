"""The clustering mask transformer layer (CMT-DeepLab, section 3)."""

from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.conv_norm import together
from cmt_deeplab.models.blocks.recompute import concatenated, remade
from cmt_deeplab.structures import NUM_REFERENCE_POINTS

from .layer_parts import LayerOutput, TransformerLayer, affinities
from .location import ReferenceMask, coordinate_planes
from .retrieval import nearest_center, retrieve, soft

ASSIGNMENTS = dict(softmax=soft, kmeans=nearest_center)


@MODELS.register_module()
class CMTLayer(TransformerLayer):
    """Assigns pixels to cluster centers, then updates the centers and the pixels by it.

    1. Location: reference points from the centers, coordinates for the pixels.
    2. Assignment logits: the products of pixels and centers, normalized, plus the logits of the
       layer before. A softmax over the centers shares each pixel among them.
    3. Centers: an attention over the pixels (softmax of the logits over the pixels) and the
       clustering update (the sum of the pixels assigned to the center) are added; then
       self-attention among the centers and a feed-forward network.
    4. Pixels: each receives the values of its centers.

    Each ingredient has a switch, so that ablations are configs. Further arguments are those of
    :class:`TransformerLayer`.

    Args:
        assignment: 'softmax' as above. 'kmeans' gives each pixel, per head, to the center with
            the largest logit, without gradient as in kMaX-DeepLab; the attention over the pixels
            then trains the logits alone.
        similarity_gamma: initial scale of the assignment logits. An adaptive optimizer moves it
            by about one learning rate per step, so short schedules start above 1.
        clustering_update, spatial_attention, pixel_update, residual_logits, reference_mask,
            coordinate_conv: switches of the ingredients.
    """

    def __init__(
        self,
        *,
        assignment: str = 'softmax',
        similarity_gamma: float = 1.0,
        clustering_update: bool = True,
        spatial_attention: bool = True,
        pixel_update: bool = True,
        residual_logits: bool = True,
        reference_mask: bool = True,
        coordinate_conv: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if assignment not in ASSIGNMENTS:
            raise UserError(
                f"CMTLayer: assignment must be 'softmax' or 'kmeans', not {assignment!r}."
            )
        if assignment == 'kmeans' and not spatial_attention:
            raise UserError(
                "CMTLayer: assignment 'kmeans' has no gradient, and nothing trains its logits "
                'without spatial_attention: keep it.'
            )
        if not (clustering_update or spatial_attention):
            raise UserError(
                'CMTLayer: without clustering_update and spatial_attention the centers are not '
                'updated from the pixels: keep one of them.'
            )
        self.assign = ASSIGNMENTS[assignment]
        self.residual_logits, self.coordinate_conv = residual_logits, coordinate_conv
        pixels, centers, values = self.pixel_channels, self.center_channels, self.value_channels
        self.reference_mask = ReferenceMask(centers, **self.common) if reference_mask else None
        self.pixel_project = self.build_input(pixels + 2 * coordinate_conv)
        self.center_project = self.build_input(centers + 2 * NUM_REFERENCE_POINTS * reference_mask)
        self.pixel_kv = self.build_projection(self.key_channels, values)
        self.center_qv = self.build_projection(self.key_channels, values * pixel_update)
        self.similarity_norm = self.build_similarity_norm(similarity_gamma)
        self.cross_update = self.build_update(centers) if spatial_attention else None
        self.cluster_update = self.build_update(centers) if clustering_update else None
        self.pixel_update = self.build_update(pixels) if pixel_update else None
        self.self_attention = self.build_self_attention()
        self.ffn = self.build_feed_forward()
        self.predictor = self.build_predictor()

    def forward(
        self, pixels: Tensor, centers: Tensor, logits: Tensor | None, *, predict: bool = False
    ) -> LayerOutput:
        """One layer.

        Args:
            pixels: (B, Dp, H, W).
            centers: (B, D, N).
            logits: assignment logits (B, h, N, H', W') of the layer before, or None.
            predict: whether to give the layer's own prediction too.
        """
        size, among_centers = pixels.shape[2:], self.self_attention
        points, own_pixels, located = self.locate(pixels, centers)
        own_centers, (key, pixel_value) = together(
            (located, self.center_project), (own_pixels, self.pixel_kv)
        )
        prediction = self.predicted(own_pixels, own_centers, points) if predict else None
        (query, center_value), (*own, own_value) = together(
            (own_centers, self.center_qv), (own_centers, among_centers.qkv)
        )
        similarity, own_similarity = affinities(
            (self.similarity_norm, query, key), (among_centers.similarity_norm, *own)
        )  # (B, h, N, HW) and (B, h, N, N)
        if logits is not None and self.residual_logits:
            similarity = similarity + self.resized(logits, size).flatten(3)
        attended, pooled, heard = retrieve(
            similarity,
            pixel_value,
            center_value if self.pixel_update is not None else None,
            attend=self.cross_update is not None,
            pooled=self.cluster_update is not None,
            assign=self.assign,
        )
        values = (
            attended,
            pooled,
            retrieve(own_similarity, own_value)[0],
            None if heard is None else heard.unflatten(2, size),
        )
        parts = (self.cross_update, self.cluster_update, among_centers.update, self.pixel_update)
        used = [(value, part) for value, part in zip(values, parts) if part is not None]
        terms = iter(together(*used))

        updated = centers
        for part in parts[:3]:
            if part is not None:
                updated = updated + next(terms)
        updated = self.act(updated)
        updated = self.act(updated + self.ffn(updated))
        if self.pixel_update is not None:
            pixels = pixels + next(terms)
        return LayerOutput(pixels, updated, similarity.unflatten(3, size), prediction)

    def locate(self, pixels: Tensor, centers: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Reference points (B, N, R, 2) or None, projected pixels, and centers with points."""
        pixels = self.act(pixels)
        if self.coordinate_conv:
            planes = coordinate_planes(pixels, align_corners=self.align_corners)
            pixels = remade(concatenated, pixels, planes)
        if self.reference_mask is None:
            return None, self.pixel_project(pixels), centers
        points, own_pixels = together((centers, self.reference_mask), (pixels, self.pixel_project))
        offsets = (2 * points - 1).flatten(2).transpose(1, 2)  # (B, 2R, N), in [-1, 1]
        return points, own_pixels, torch.cat([centers, offsets.to(centers.dtype)], dim=1)

    def resized(self, logits: Tensor, size: torch.Size) -> Tensor:
        """Assignment logits (B, h, N, H', W') at another size (H, W)."""
        planes = resize(logits.flatten(1, 2), size, align_corners=self.align_corners)
        return planes.unflatten(1, logits.shape[1:3])
