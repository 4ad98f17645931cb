"""The dual-path transformer layer (MaX-DeepLab, section 3.2)."""

from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.models.blocks.conv_norm import together

from .layer_parts import LayerOutput, TransformerLayer, affinities
from .retrieval import retrieve


@MODELS.register_module()
class MaXLayer(TransformerLayer):
    """The centers attend to pixels and centers together; the pixels attend to the centers.

    1. Centers: one softmax over the HW pixels and the N centers, so that both compete for a
       center's attention; then a feed-forward network.
    2. Pixels: a softmax over the N centers. Both attentions read the centers as they came in.

    Each attention has its own norm of the similarities. There is no location, no clustering and
    no sum of logits over layers. ``pixel_update=False`` leaves out the second part; further
    arguments are those of :class:`TransformerLayer`.

    Source: deeplab2 (``layers/dual_path_transformer.py``), where the centers are called the global
    memory. MaX-DeepLab predicts after its last layer only, so configs of it set
    ``deep_supervision=False``.
    """

    def __init__(self, *, pixel_update: bool = True, **shared: Any) -> None:
        super().__init__(**shared)
        self.pixel_project = self.build_input(self.pixel_channels)
        self.center_project = self.build_input(self.center_channels)
        # Of queries, keys and values; without pixel_update the pixels ask nothing.
        keys, values = self.key_channels, self.value_channels
        self.pixel_qkv = self.build_projection(keys * pixel_update, keys, values)
        self.center_qkv = self.build_projection(keys, keys, values)
        self.center_similarity_norm = self.build_similarity_norm()
        self.center_update = self.build_update(self.center_channels)
        self.ffn = self.build_feed_forward()
        self.pixel_similarity_norm = self.build_similarity_norm() if pixel_update else None
        self.pixel_update = self.build_update(self.pixel_channels) if pixel_update else None
        self.predictor = self.build_predictor()

    def forward(
        self, pixels: Tensor, centers: Tensor, logits: Tensor | None, *, predict: bool = False
    ) -> LayerOutput:
        """See :meth:`CMTLayer.forward`; the logits of the layer before are not read.

        The logits that are returned are those of the pixels' attention, and without
        ``pixel_update`` those of the centers' attention to the pixels.
        """
        size = pixels.shape[2:]
        own_pixels, own_centers = together(
            (self.act(pixels), self.pixel_project), (centers, self.center_project)
        )
        prediction = self.predicted(own_pixels, own_centers) if predict else None

        (pixel_query, pixel_key, pixel_value), (query, key, value) = together(
            (own_pixels, self.pixel_qkv), (own_centers, self.center_qkv)
        )
        keys = torch.cat([pixel_key, key], dim=3)  # (B, h, d, HW + N)
        values = torch.cat([pixel_value, value], dim=3)
        similarities = affinities(
            (self.center_similarity_norm, query, keys),  # (B, h, N, HW + N)
            *([(self.pixel_similarity_norm, key, pixel_query)] if self.pixel_update else []),
        )
        updates = [(retrieve(similarities[0], values)[0], self.center_update)]
        if self.pixel_update is not None:
            _, _, heard = retrieve(similarities[1], pixel_value, value, attend=False)
            updates.append((heard.unflatten(2, size), self.pixel_update))
        terms = together(*updates)
        updated = self.act(centers + terms[0])
        updated = self.act(updated + self.ffn(updated))
        similarity = similarities[-1][..., : size.numel()]
        if self.pixel_update is not None:
            pixels = pixels + terms[1]
        return LayerOutput(pixels, updated, similarity.unflatten(3, size), prediction)
