"""Everything between the backbone's features and the predictions."""

from collections.abc import Sequence
from typing import NamedTuple

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput


class HeadOutput(NamedTuple):
    decoder: DecoderOutput
    semantic_logits: Tensor | None  # (B, C+1, H, W) while training with a semantic head, else None


@MODELS.register_module()
class CMTPanopticHead(nn.Module):
    """Pixel decoder, transformer decoder and auxiliary semantic head.

    ``norm_cfg`` and ``act_cfg`` are those of every part below, ``in_channels`` the backbone's, fine to coarse. ``predictor`` is the
    config of all predictors; ``semantic_head`` may be None. ``semantic_stage`` gives the semantic head one feature more, behind the
    backbone's: that of this pixel decoder stage after its layers, where MaX-DeepLab ends its backbone.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        align_corners: bool,
        pixel_decoder: dict,
        transformer_decoder: dict,
        predictor: dict = dict(type='CMTPredictor'),
        semantic_head: dict | None = dict(type='PanopticSemanticHead'),
        norm_cfg: dict = DEFAULT_NORM,
        act_cfg: dict = dict(type='GELU'),
        semantic_stage: int | None = None,
    ) -> None:
        super().__init__()
        self.norm_cfg, self.act_cfg = norm_cfg, act_cfg
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg, align_corners=align_corners)
        self.pixel_decoder = MODELS.build(dict(pixel_decoder, in_channels=in_channels, **common))
        self.transformer_decoder = MODELS.build(
            dict(
                transformer_decoder,
                pixel_channels=self.pixel_decoder.out_channels,
                num_classes=num_classes,
                predictor=predictor,
                **common,
            )
        )
        self.semantic_stage = semantic_stage
        if semantic_stage is not None:
            in_channels = [*in_channels, self.pixel_decoder.out_channels[semantic_stage]]
        self.semantic_head = (
            None
            if semantic_head is None
            else MODELS.build(
                dict(semantic_head, in_channels=in_channels, num_classes=num_classes, **common)
            )
        )

    def forward(
        self,
        features: Sequence[Tensor],
        valid: Tensor | None = None,
        *,
        features_only: bool = False,
    ) -> HeadOutput:
        """Backbone ``features`` fine to coarse, ``valid`` (B, 1, H, W) 1 inside the images or None; ``features_only`` as the decoder's."""
        decoder = self.transformer_decoder(
            features, self.pixel_decoder, valid, features_only=features_only
        )
        semantic = None
        if self.training and self.semantic_head is not None:
            extra = (
                [] if self.semantic_stage is None else [decoder.stage_features[self.semantic_stage]]
            )
            semantic = self.semantic_head([*features, *extra])
        return HeadOutput(decoder, semantic)
