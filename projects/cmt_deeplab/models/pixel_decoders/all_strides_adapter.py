"""Pixel decoders that give all strides at once, mmdet's for example, behind the stage-by-stage interface."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class AllStridesPixelDecoder(nn.Module):
    """Runs ``decoder`` (mmdet's ``MSDeformAttnPixelDecoder``) once and hands its planes out stage by stage, coarse to fine.

    Since the decoder has finished before the first layer runs, the layers' pixel updates stay local to their stride. The decoder's
    config may leave out ``in_channels``, and its ``strides`` are the backbone's.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
        decoder: dict,
    ) -> None:
        super().__init__()
        self.decoder = MODELS.build(dict(decoder, in_channels=list(in_channels)))
        self.decoder.init_weights()
        num_scales = decoder['num_outs']
        self.num_stages = num_scales + 1
        self.out_channels = [decoder['feat_channels']] * num_scales + [decoder['out_channels']]

    def skips(self, features: Sequence[Tensor]) -> list[Tensor]:
        """All planes, coarse to fine; the mask features come last."""
        mask_features, planes = self.decoder(list(features))
        return [*planes[: self.num_stages - 1], mask_features]

    def stage(self, i: int, previous: Tensor | None, skip: Tensor) -> Tensor:
        return skip
