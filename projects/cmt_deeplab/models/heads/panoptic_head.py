"""Everything between the backbone's features and the predictions."""

from collections.abc import Sequence
from typing import NamedTuple

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput


class HeadOutput(NamedTuple):
    """What the head makes of one batch."""

    decoder: DecoderOutput
    semantic_logits: Tensor | None  # (B, C+1, H, W) while training with a semantic head


@MODELS.register_module()
class CMTPanopticHead(nn.Module):
    """Pixel decoder, transformer decoder and, while training, the auxiliary semantic head.

    Args:
        in_channels: widths of the backbone's features, fine to coarse.
        predictor: config of all predictors.
        semantic_head: config of the semantic head, or None for none.
        norm_cfg, act_cfg: of every part.
        semantic_stage: gives the semantic head, after the backbone's features, that of this
            stage of the pixel decoder after its layers; MaX-DeepLab ends its backbone there.
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
        self.norm_cfg, self.act_cfg, self.semantic_stage = norm_cfg, act_cfg, semantic_stage
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg, align_corners=align_corners)
        self.pixel_decoder = MODELS.build(dict(pixel_decoder, in_channels=in_channels, **common))
        widths = self.pixel_decoder.out_channels
        common.update(num_classes=num_classes)
        self.transformer_decoder = MODELS.build(
            dict(transformer_decoder, pixel_channels=widths, predictor=predictor, **common)
        )
        self.semantic_head = None
        if semantic_head is not None:
            extra = [] if semantic_stage is None else [widths[semantic_stage]]
            self.semantic_head = MODELS.build(
                dict(semantic_head, in_channels=[*in_channels, *extra], **common)
            )

    def forward(self, features: Sequence[Tensor], *, features_only: bool = False) -> HeadOutput:
        """``features`` of the backbone, fine to coarse; ``features_only`` as in the decoder."""
        decoder = self.transformer_decoder(
            features, self.pixel_decoder, features_only=features_only
        )
        semantic = None
        if self.training and self.semantic_head is not None:
            stage = self.semantic_stage
            extra = [] if stage is None else [decoder.stage_features[stage]]
            semantic = self.semantic_head([*features, *extra])
        return HeadOutput(decoder, semantic)
