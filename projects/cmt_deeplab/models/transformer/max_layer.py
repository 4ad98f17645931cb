"""The dual-path transformer layer (MaX-DeepLab, section 3.2)."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.precision import fp32_softmax

from .layer_parts import (
    CenterFeedForward,
    LayerOutput,
    RetrievedUpdate,
    affinity,
    build_layer_predictor,
    check_heads,
    retrieve,
    split_heads,
)


@MODELS.register_module()
class MaXLayer(nn.Module):
    """The centers attend to pixels and centers together; the pixels attend to the centers.

    1. Centers: one softmax over the HW pixels and the N centers, so that both compete for a
       center's attention; then a feed-forward network.
    2. Pixels: a softmax over the N centers. Both attentions read the centers as they came in.

    Each attention has its own norm of the similarities. There is no location, no clustering and
    no sum of logits over layers. Arguments are those of :class:`CMTLayer`.

    Source: deeplab2 (``layers/dual_path_transformer.py``). MaX-DeepLab calls the centers the
    global memory, hence the names of two parameters; it predicts after its last layer only, so
    configs of it set ``deep_supervision=False``.
    """

    consumes_prediction = False

    def __init__(
        self,
        *,
        pixel_channels: int,
        center_channels: int,
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
    ) -> None:
        super().__init__()
        check_heads(self, heads, key_channels, value_channels)
        self.heads = heads
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        update = dict(common, drop_path=drop_path)
        self.act = build_activation(act_cfg)
        self.pixel_project = ConvNorm(pixel_channels, hidden_channels, **common)
        self.center_project = ConvNorm(center_channels, hidden_channels, **common)

        projection = dict(norm_cfg=norm_cfg, weight_std=hidden_channels**-0.5)
        # Of queries, keys and values.
        self.pixel_depths = [key_channels * pixel_update, key_channels, value_channels]
        self.center_depths = [key_channels, key_channels, value_channels]
        self.pixel_qkv = ConvNorm(hidden_channels, sum(self.pixel_depths), **projection)
        self.center_qkv = ConvNorm(hidden_channels, sum(self.center_depths), **projection)
        self.memory_similarity_norm = build_norm(norm_cfg, heads)
        self.memory_update = RetrievedUpdate(value_channels, center_channels, **update)
        self.ffn = CenterFeedForward(center_channels, ffn_channels, **update)
        self.pixel_similarity_norm = self.pixel_update = None
        if pixel_update:
            self.pixel_similarity_norm = build_norm(norm_cfg, heads)
            self.pixel_update = RetrievedUpdate(value_channels, pixel_channels, **update)
        self.predictor = build_layer_predictor(predictor, hidden_channels)

    def forward(
        self, pixels: Tensor, centers: Tensor, logits: Tensor | None, *, predict: bool = False
    ) -> LayerOutput:
        """See :meth:`CMTLayer.forward`; the logits of the layer before are not read.

        The logits that are returned are those of the pixels' attention, and without
        ``pixel_update`` those of the centers' attention to the pixels.
        """
        size = pixels.shape[2:]
        own_pixels = self.pixel_project(self.act(pixels))
        own_centers = self.center_project(centers)
        prediction = self.predictor(own_pixels, own_centers) if predict else None

        pixel_query, pixel_key, pixel_value = split_heads(
            self.pixel_qkv(own_pixels).flatten(2), self.pixel_depths, self.heads
        )
        query, key, value = split_heads(
            self.center_qkv(own_centers), self.center_depths, self.heads
        )

        keys = torch.cat([pixel_key, key], dim=3)  # (B, h, d, HW + N)
        values = torch.cat([pixel_value, value], dim=3)
        similarity = affinity(self.memory_similarity_norm, query, keys)  # (B, h, N, HW + N)
        retrieved = retrieve(values, fp32_softmax(similarity, dim=3))
        updated = self.act(centers + self.memory_update(retrieved))
        updated = self.act(updated + self.ffn(updated))

        similarity = similarity[..., : size.numel()]
        if self.pixel_update is not None:
            similarity = affinity(self.pixel_similarity_norm, key, pixel_query)  # (B, h, N, HW)
            assignment = fp32_softmax(similarity, dim=2)
            retrieved = retrieve(value, assignment.transpose(2, 3))
            pixels = pixels + self.pixel_update(retrieved.unflatten(2, size))
        return LayerOutput(pixels, updated, similarity.unflatten(3, size), prediction)
