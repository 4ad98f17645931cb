"""Everything between the backbone's features and the predictions."""

from collections.abc import Sequence
from typing import NamedTuple

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.blocks.recompute import recompute_always
from cmt_deeplab.models.blocks.residual_blocks import ResidualBlock
from cmt_deeplab.models.pixel_decoders import AllStridesPixelDecoder, build_pixel_decoder
from cmt_deeplab.models.transformer.transformer_decoder import CMTTransformerDecoder, DecoderOutput
from cmt_deeplab.parts import build_part
from cmt_deeplab.slots import DECODER, HEAD

from .trial import try_out_foreign_parts


class HeadOutput(NamedTuple):
    """What the head makes of one batch."""

    decoder: DecoderOutput
    semantic_logits: Tensor | None  # (B, C+1, H, W) while training with a semantic head


@MODELS.register_module()
class CMTPanopticHead(nn.Module):
    """Pixel decoder, transformer decoder and, while training, the auxiliary semantic head.

    Args:
        in_channels, in_strides: widths and strides of the features of the backbone, or of the neck
            behind it, fine to coarse; strides are 4, 8, 16 ... unless given.
        pixel_decoder: config of a pixel decoder of this package, or of a pixel decoder or neck of
            mmdet, or a list of several of those in a row.
        predictor: config of all predictors.
        semantic_head: config of the semantic head, or None for none.
        norm_cfg, act_cfg: of every part.
        semantic_stage: gives the semantic head, after the backbone's features, that of this
            stage of the pixel decoder after its layers; MaX-DeepLab ends its backbone there.
        with_cp: whether the activations of the residual blocks of the pixel decoder, of each layer,
            of the predictors and of the semantic head are recomputed in the backward pass.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_strides: Sequence[int] | None = None,
        num_classes: int,
        align_corners: bool,
        pixel_decoder: dict | list[dict],
        transformer_decoder: dict,
        predictor: dict = dict(type='CMTPredictor'),
        semantic_head: dict | None = dict(type='PanopticSemanticHead'),
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict | None = dict(type='GELU'),
        semantic_stage: int | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.norm_cfg, self.act_cfg, self.semantic_stage = norm_cfg, act_cfg, semantic_stage
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg, align_corners=align_corners)
        if in_strides is None:
            in_strides = [4 * 2**i for i in range(len(in_channels))]
        self.pixel_decoder = build_pixel_decoder(
            pixel_decoder, in_channels=in_channels, in_strides=in_strides, **common
        )
        widths = list(self.pixel_decoder.out_channels)
        common.update(num_classes=num_classes)
        self.transformer_decoder = build_part(
            DECODER, transformer_decoder, pixel_channels=widths, predictor=predictor, **common
        )
        self.semantic_head = None
        if semantic_stage is not None and semantic_stage not in range(len(widths)):
            raise UserError(
                f'{HEAD}.semantic_stage is {semantic_stage!r}, but the stages of the pixel decoder '
                f'are 0 to {len(widths) - 1}: name one of them, or None.'
            )
        if semantic_head is not None:
            extra = [] if semantic_stage is None else [widths[semantic_stage]]
            self.semantic_head = build_part(
                f'{HEAD}.semantic_head', semantic_head, in_channels=[*in_channels, *extra], **common
            )
        if isinstance(self.pixel_decoder, AllStridesPixelDecoder):
            self._freeze_what_is_not_read(self.pixel_decoder)
        try_out_foreign_parts(
            self,
            list(zip(in_channels, in_strides)),
            align_corners=align_corners,
            num_classes=num_classes,
        )
        if with_cp:
            self._recompute_blocks()

    def _recompute_blocks(self) -> None:
        decoder = self.pixel_decoder
        blocks = [part for part in decoder.modules() if isinstance(part, ResidualBlock)]
        if isinstance(self.transformer_decoder, CMTTransformerDecoder):
            self.transformer_decoder.recompute()
        for block in blocks if self.semantic_head is None else [*blocks, self.semantic_head]:
            recompute_always(block)

    def _freeze_what_is_not_read(self, pixel_decoder: AllStridesPixelDecoder) -> None:
        """Freeze what has no gradient, since it would stop the training of several processes.

        That is what the last layer of a stage does to the pixels, as the stages do not follow
        from each other here, and what makes maps of stages without layers.
        """
        last = len(pixel_decoder.stages) - 1
        read = {last} if self.semantic_stage is None else {last, self.semantic_stage}
        for i, layers in enumerate(getattr(self.transformer_decoder, 'stages', ())):
            if len(layers):
                read.add(i)
                update = getattr(layers[-1], 'pixel_update', None)
                if i not in (last, self.semantic_stage) and isinstance(update, nn.Module):
                    update.requires_grad_(False)
        maps = {pixel_decoder.stages[i][1] for i in read}
        if len(maps) < len(pixel_decoder.strides):
            pixel_decoder.train_for(maps, f'{HEAD}.pixel_decoder: maps of stages without layers')

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
