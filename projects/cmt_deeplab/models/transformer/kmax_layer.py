"""The k-means cross-attention layer (kMaX-DeepLab, section 3.2)."""

from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32

from .layer_parts import LayerOutput, TransformerLayer


@MODELS.register_module()
class KMaXLayer(TransformerLayer):
    """One step of k-means: centers move by the sum of the pixels that are nearest to them.

    1. Assignment: the layer predicts masks, and each pixel belongs to the center with the largest
       mask logit; without gradient.
    2. Centers: the sum of their pixels and a self-attention are added; then a feed-forward
       network. Pixels stay as they are.

    The layer needs its own prediction, at inference too, so ``predictor`` may not be None. Other
    arguments are those of :class:`TransformerLayer`.

    Source: deeplab2 (``transformer_decoder/kmax.py``, ``layers/dual_path_transformer.py``).
    """

    consumes_prediction = True

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        if self.predictor_cfg is None:
            raise UserError('KMaXLayer assigns pixels by its own mask logits: give it a predictor.')
        self.pixel_project = self.build_input(self.pixel_channels)
        self.center_project = self.build_input(self.center_channels)
        self.pixel_value = self.build_projection([self.value_channels])
        # Without an activation between its two norms, as in deeplab2 and kmax-deeplab.
        self.pooled_update = self.build_update(self.center_channels, act_cfg=None)
        self.self_attention = self.build_self_attention()
        self.ffn = self.build_feed_forward()
        self.predictor = self.build_predictor()

    def forward(
        self, pixels: Tensor, centers: Tensor, logits: Tensor | None, *, predict: bool = False
    ) -> LayerOutput:
        """See :meth:`CMTLayer.forward`; the logits of the layer before are not read.

        The logits that are returned are the mask logits, with one head.
        """
        own_pixels = self.pixel_project(self.act(pixels))
        own_centers = self.center_project(centers)
        prediction = self.predictor(own_pixels, own_centers)
        mask_logits = prediction.mask_logits  # (B, N, H, W)

        pooled = self.pool(
            self.assign(mask_logits), self.pixel_value(own_pixels), mask_logits.shape[1]
        )
        updated = self.act(centers + self.pooled_update(pooled) + self.self_attention(own_centers))
        updated = self.act(updated + self.ffn(updated))
        return LayerOutput(
            pixels, updated, mask_logits.unsqueeze(1), prediction if predict else None
        )

    def assign(self, mask_logits: Tensor) -> Tensor:
        """Index of the center that each pixel belongs to, (B, H, W) int64, without gradient."""
        return mask_logits.detach().argmax(dim=1)

    def pool(self, assignment: Tensor, value: Tensor, num_centers: int) -> Tensor:
        """The sum of the values (B, Dv, H, W) of each center's pixels, (B, Dv, N).

        It is taken in fp32, as thousands of pixels add up.
        """
        index = assignment.flatten(1).unsqueeze(1)  # (B, 1, HW)
        with torch.autocast(value.device.type, enabled=False):
            value = at_least_fp32(value).flatten(2)
            member = value.new_zeros(len(value), num_centers, value.shape[2])
            return value @ member.scatter_(1, index, 1.0).transpose(1, 2)
