"""Which pixel decoders are stages by themselves, and which need an adapter."""

from collections.abc import Mapping, Sequence

from torch import nn

from cmt_deeplab.parts import build_part, part_class

from .all_strides_adapter import AllStridesPixelDecoder

SLOT = 'model.panoptic_head.pixel_decoder'


def build_pixel_decoder(
    config: Mapping | Sequence[Mapping],
    *,
    in_channels: Sequence[int],
    in_strides: Sequence[int],
    align_corners: bool,
    norm_cfg: dict | None,
    act_cfg: dict | None,
) -> nn.Module:
    """The pixel decoder of a config.

    A class with a method ``stage`` works stage by stage and takes all arguments. Any other class,
    and a list of configs, is taken for a pixel decoder or neck that gives all strides at once. It
    keeps the norms and activations that are its own, as ``norm_cfg`` and ``act_cfg`` of the head
    are made for our parts.
    """
    frame = dict(in_channels=in_channels, in_strides=in_strides, align_corners=align_corners)
    if isinstance(config, list | tuple) or not hasattr(part_class(SLOT, config), 'stage'):
        return AllStridesPixelDecoder(decoder=config, key=SLOT, **frame)
    return build_part(SLOT, config, norm_cfg=norm_cfg, act_cfg=act_cfg, **frame)
