"""Pixel decoders that give all strides at once, those of mmdet for example, in stages."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class AllStridesPixelDecoder(nn.Module):
    """Runs mmdet's ``MSDeformAttnPixelDecoder`` once and gives its features stage by stage.

    Since it has finished before the first layer runs, what a layer changes in the pixels stays
    local to its stride.

    Args:
        in_channels: widths of the backbone's features, fine to coarse.
        decoder: config of the decoder; its ``strides`` are the backbone's, and it may leave out
            ``in_channels``.
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
        """All features, coarse to fine; those of the masks come last."""
        mask_features, planes = self.decoder(list(features))
        return [*planes[: self.num_stages - 1], mask_features]

    def stage(self, i: int, previous: Tensor | None, skip: Tensor) -> Tensor:
        """The features of stage i, which are there already."""
        return skip
