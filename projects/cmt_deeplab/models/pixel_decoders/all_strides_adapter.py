"""Pixel decoders that give all strides at once, those of mmdet for example, in stages."""

from collections.abc import Mapping, Sequence

from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize

from .neck import AdaptedNeck

COARSEST_MASKS = 8  # the largest stride at which masks are predicted


@MODELS.register_module()
class AllStridesPixelDecoder(AdaptedNeck):
    """Runs a pixel decoder or a neck of mmdet once and gives its maps stage by stage.

    Since it has finished before the first layer runs, what a layer changes in the pixels stays
    local to its stride. There is a stage for each map, coarse to fine, and one for each stride of
    the backbone at which there is no map: it reads the next finer one, resized.

    A decoder or neck that a config names directly gets this adapter:
    ``pixel_decoder=dict(type='FPN')`` stands for
    ``pixel_decoder=dict(type='AllStridesPixelDecoder', decoder=dict(type='FPN'))``.

    Args:
        in_channels, in_strides: of the backbone's features, fine to coarse.
        decoder: config of the decoder or neck, or a list of several in a row; see
            :class:`AdaptedNeck`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        align_corners: bool,
        decoder: Mapping | Sequence[Mapping],
        key: str = 'model.panoptic_head.pixel_decoder.decoder',
    ) -> None:
        frame = dict(in_strides=in_strides, align_corners=align_corners)
        super().__init__(decoder, in_channels=in_channels, key=key, **frame)
        if self.strides[0] > COARSEST_MASKS:
            raise UserError(
                f'{key}: its finest map has stride {self.strides[0]}, but masks are predicted at '
                f'stride {COARSEST_MASKS} or finer: take a decoder or neck that gives such a map.'
            )

    @property
    def stages(self) -> list[tuple[int, int]]:
        """Stride and number of the map of each stage, coarse to fine; the masks' map comes last."""
        stages = [(stride, i) for i, stride in enumerate(self.strides)]
        missing = {stride for stride in self.in_strides if stride > self.strides[0]}
        for stride in missing - set(self.strides):
            stages.append((stride, max(i for finer, i in stages if finer < stride)))
        return sorted(stages, key=lambda stage: (-stage[0], -stage[1]))

    @property
    def out_channels(self) -> list[int]:
        """Width of each stage."""
        return [self.widths[i] for _, i in self.stages]

    def skips(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The features of all stages."""
        maps, coarsest = self(features), features[-1].shape[-2:]
        sizes = [self.size_at(stride, coarsest) for stride, _ in self.stages]
        return [
            resize(maps[i], size, align_corners=self.align_corners)
            for size, (_, i) in zip(sizes, self.stages)
        ]

    def stage(self, i: int, previous: Tensor | None, skip: Tensor) -> Tensor:
        """The features of stage i, which are there already."""
        return skip
