"""The k-means cross-attention layer (kMaX-DeepLab, section 3.2)."""

from typing import Any

from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import together

from .layer_parts import LayerOutput, TransformerLayer
from .retrieval import nearest_center, retrieve


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
        if self.predictor_type is None:
            raise UserError('KMaXLayer assigns pixels by its own mask logits: give it a predictor.')
        self.pixel_project = self.build_input(self.pixel_channels)
        self.center_project = self.build_input(self.center_channels)
        self.pixel_value = self.build_projection(self.value_channels, heads=1)
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
        own_pixels, own_centers = together(
            (self.act(pixels), self.pixel_project), (centers, self.center_project)
        )
        prediction = self.predictor(own_pixels, own_centers)
        mask_logits = prediction.mask_logits  # (B, N, H, W)

        (value,) = self.pixel_value(own_pixels)  # (B, 1, Dv, HW)
        logits, how = mask_logits.flatten(2).unsqueeze(1), dict(assign=nearest_center)
        _, pooled, _ = retrieve(logits, value, attend=False, pooled=True, **how)  # (B, Dv, N)
        updated = self.act(centers + self.pooled_update(pooled) + self.self_attention(own_centers))
        updated = self.act(updated + self.ffn(updated))
        return LayerOutput(
            pixels, updated, mask_logits.unsqueeze(1), prediction if predict else None
        )
