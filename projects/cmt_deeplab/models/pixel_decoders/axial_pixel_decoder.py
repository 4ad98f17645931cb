"""The pixel decoder of kMaX-DeepLab, in stages between which the transformer layers work."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import doubled, resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation, together
from cmt_deeplab.models.blocks.module_config import require_sequences
from cmt_deeplab.models.blocks.norm import PanopticLayerNorm
from cmt_deeplab.models.blocks.residual_blocks import build_block_group


class SkipFuse(nn.Module):
    """The sum of the coarser stage and the backbone's feature, at the size of the latter.

    Each is activated and projected by a 1x1 convolution with a norm; the coarser stage is then
    resized. ``project_skip=False`` adds the backbone's feature as it is. Without a feature the
    coarser stage alone goes to twice its size.

    Source: ``ResizedFuse`` of deeplab2 and kmax-deeplab.
    """

    def __init__(
        self,
        low_channels: int,
        skip_channels: int | None,
        out_channels: int,
        *,
        project_skip: bool,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.act = build_activation(act_cfg)
        self.low = ConvNorm(low_channels, out_channels, norm_cfg=norm_cfg)
        self.skip = None
        if project_skip and skip_channels is not None:
            self.skip = ConvNorm(skip_channels, out_channels, norm_cfg=norm_cfg)

    def forward(self, low: Tensor, skip: Tensor | None) -> Tensor:
        low = self.act(low)
        if skip is not None and self.skip is not None:
            low, skip = together((low, self.low), (self.act(skip), self.skip))
        else:
            low = self.low(low)
        if skip is None:
            size = doubled(low.shape[-2:], align_corners=self.align_corners)
            return resize(low, size, align_corners=self.align_corners)
        return resize(low, skip.shape[-2:], align_corners=self.align_corners) + skip


@MODELS.register_module()
class AxialPixelDecoder(nn.Module):
    """Pixel decoder in stages, coarse to fine: ``stage(i, previous, skip) -> features``.

    The transformer layers of a stage work between it and the next one.

    Args:
        in_channels: widths of the backbone's features, fine to coarse. Each belongs to one stage,
            which has its size: two features of the same stride give two stages of the same
            stride, as with the stem of ConvNeXt on Cityscapes. One stage more than there are
            features goes to half the stride of the finest one.
        kinds: 'axial' or 'bottleneck', the kind of the residual blocks of each stage.
        filters: base filters f of each stage; 4f channels come out.
        num_blocks: number of residual blocks of each stage.
        dilations: of the 3x3 convolutions of each stage. deeplab2 has 2 in its bottleneck
            stages, kmax-deeplab has 1.
        drop_path: probability with which a residual branch is dropped for one image.
        project_equal_skips: whether a backbone feature that already has f channels is activated
            and projected like all others. deeplab2 and kmax-deeplab add it as it is; this
            concerns only the ResNet-50 of kmax-deeplab on Cityscapes.

    Source: deeplab2 (``pixel_decoder/kmax.py``), kmax-deeplab (``kmax_pixel_decoder.py``).
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        norm_cfg: dict | None,
        act_cfg: dict | None,
        align_corners: bool,
        kinds: Sequence[str] = ('axial', 'axial', 'bottleneck', 'bottleneck'),
        filters: Sequence[int] = (512, 256, 128, 64),
        num_blocks: Sequence[int] = (1, 5, 1, 1),
        dilations: Sequence[int] = (1, 1, 1, 1),
        drop_path: float = 0.0,
        project_equal_skips: bool = True,
    ) -> None:
        super().__init__()
        skips = list(reversed(in_channels))
        require_sequences(
            'AxialPixelDecoder',
            kinds=kinds,
            filters=filters,
            num_blocks=num_blocks,
            dilations=dilations,
        )
        lengths = {len(kinds), len(filters), len(num_blocks), len(dilations)}
        if len(lengths) > 1 or len(kinds) - len(skips) not in (0, 1):
            raise UserError(
                'AxialPixelDecoder: kinds, filters, num_blocks and dilations need one entry for '
                f'each of the {len(skips)} features that come in, or one more; their lengths '
                f'are {len(kinds)}, {len(filters)}, {len(num_blocks)} and {len(dilations)}. Change '
                'them, or the features (model.neck, or model.backbone.out_indices).'
            )
        if any(kind == 'axial' and dilation > 1 for kind, dilation in zip(kinds, dilations)):
            raise UserError(
                f'AxialPixelDecoder: dilations {tuple(dilations)} must be 1 in axial stages, which '
                'have no 3x3 convolution.'
            )
        self.num_stages = len(kinds)
        self.out_channels = [4 * base for base in filters]
        self.input_norms = nn.ModuleList(PanopticLayerNorm(width, eps=1e-6) for width in skips)
        self.fuses, self.blocks = nn.ModuleList(), nn.ModuleList()
        skips += [None] * (len(kinds) - len(skips))
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        widths = [skips[0], *filters[1:]]  # of what the blocks of each stage read
        for i, width in enumerate(widths):
            if i > 0:
                fuse = SkipFuse(
                    self.out_channels[i - 1],
                    skips[i],
                    width,
                    project_skip=project_equal_skips or skips[i] != width,
                    align_corners=align_corners,
                    **common,
                )
                self.fuses.append(fuse)
            dilation = dict(dilation=dilations[i]) if dilations[i] != 1 else {}
            blocks = [(kinds[i], drop_path)] * num_blocks[i]
            self.blocks.append(build_block_group(blocks, width, filters[i], **dilation, **common))

    def skips(self, features: Sequence[Tensor]) -> list[Tensor | None]:
        """One per stage, coarse to fine: the normalized feature of the backbone, or None."""
        skips = [norm(feature) for norm, feature in zip(self.input_norms, reversed(features))]
        return skips + [None] * (self.num_stages - len(skips))

    def stage(self, i: int, previous: Tensor | None, skip: Tensor | None) -> Tensor:
        """Features (B, 4 f_i, H, W) of stage i from those that the layers left of stage i-1."""
        return self.blocks[i](skip if i == 0 else self.fuses[i - 1](previous, skip))
