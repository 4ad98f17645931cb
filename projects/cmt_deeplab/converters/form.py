"""The two public forms of kMaX-DeepLab: equal parameters in different networks."""

from dataclasses import dataclass

from torch import nn

from cmt_deeplab.models.blocks.residual_blocks import BottleneckBlock


@dataclass(frozen=True)
class Form:
    """What a network must be like to take the weights of a code base.

    ``max_pool`` follows the stem of a ResNet, ``pre_activation`` features leave the backbone before
    their activation, ``dilation`` is that of the pixel decoder's bottleneck blocks. ``config`` is a
    config in this form.
    """

    max_pool: bool
    pre_activation: bool
    dilation: int
    config: str

    def unfit(self, model: nn.Module) -> dict[str, str]:
        """Why ``model`` cannot take a part, by the part's name."""
        backbone, reasons = model.backbone, {}
        if getattr(backbone, 'with_max_pool', self.max_pool) != self.max_pool:
            reasons['backbone'] = (
                f'its network has {"a" if self.max_pool else "no"} max pooling; set '
                f'model.backbone.with_max_pool={self.max_pool}, as {self.config} does'
            )
        head = getattr(model, 'panoptic_head', None)
        stages = getattr(getattr(head, 'pixel_decoder', None), 'blocks', ())
        found = [_dilation(stage) for stage in stages]
        needed = tuple(1 if dilation is None else self.dilation for dilation in found)
        if any(dilation not in (None, self.dilation) for dilation in found):
            reasons['pixel decoder'] = (
                f'its bottleneck blocks have dilation {self.dilation}; set model.panoptic_head.'
                f'pixel_decoder.dilations={needed}, as {self.config} does'
            )
        if getattr(backbone, 'pre_activation_outputs', self.pre_activation) != self.pre_activation:
            side = 'before' if self.pre_activation else 'after'
            reasons['pixel decoder'] = (
                f'it reads features {side} their activation; set model.backbone.'
                f'pre_activation_outputs={self.pre_activation}, as {self.config} does'
            )
        return reasons


def _dilation(stage: nn.Module) -> int | None:
    """Dilation of the bottleneck blocks of a stage, None where it has none."""
    blocks = (block for block in stage.modules() if isinstance(block, BottleneckBlock))
    return next((block.middle.conv.dilation[0] for block in blocks), None)
