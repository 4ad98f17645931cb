"""The stage-by-stage pixel decoder, axial attention where planes are small (deeplab2 ``kmax.py``; model.md section 2)."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import doubled, resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.models.blocks.residual_blocks import build_block_group


class SkipFuse(nn.Module):
    """Brings the coarser stage and the backbone's skip to one width and adds them at the skip's size.

    act, 1x1 + norm, bilinear resize, add [deeplab2 ``ResizedFuse``]; without a skip the coarser stage alone goes to twice its size.
    """

    def __init__(
        self,
        low_channels: int,
        skip_channels: int | None,
        out_channels: int,
        *,
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.act = build_activation(act_cfg)
        self.low = ConvNorm(low_channels, out_channels, norm_cfg=norm_cfg)
        self.skip = (
            None
            if skip_channels is None
            else ConvNorm(skip_channels, out_channels, norm_cfg=norm_cfg)
        )

    def forward(self, low: Tensor, skip: Tensor | None) -> Tensor:
        low = self.low(self.act(low))
        if self.skip is None:
            return resize(
                low,
                doubled(low.shape[-2:], align_corners=self.align_corners),
                align_corners=self.align_corners,
            )
        return resize(low, skip.shape[-2:], align_corners=self.align_corners) + self.skip(
            self.act(skip)
        )


@MODELS.register_module()
class AxialPixelDecoder(nn.Module):
    """Pixel decoder in stages, coarse to fine, so that the layers can work between them: ``stage(i, previous, skip) -> features``.

    The four sequences give each stage's block kind ('axial' or 'bottleneck'), base filters f (4f channels come out), number of blocks and
    the dilation of 3x3 convolutions (deeplab2 has 2 in its bottleneck stages, kmax-deeplab 1). ``in_channels`` are the backbone's, fine
    to coarse; one stage more than backbone features makes a final stage at half the stride without a skip. ``input_norm_cfg`` normalizes
    each backbone feature first; ``axial`` holds further arguments of the axial blocks (heads, expansions, span).
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
        kinds: Sequence[str] = ('axial', 'axial', 'bottleneck', 'bottleneck'),
        filters: Sequence[int] = (512, 256, 128, 64),
        num_blocks: Sequence[int] = (1, 5, 1, 1),
        dilations: Sequence[int] = (1, 1, 1, 1),
        drop_path: float = 0.0,
        axial: dict | None = None,
        input_norm_cfg: dict | None = dict(type='PanopticLayerNorm'),
    ) -> None:
        super().__init__()
        skips = list(reversed(in_channels))
        if (
            not len(kinds) == len(filters) == len(num_blocks) == len(dilations)
            or not len(skips) <= len(kinds) <= len(skips) + 1
        ):
            raise UserError(
                f'AxialPixelDecoder: kinds, filters, num_blocks and dilations need one entry a stage, {len(skips)} stages for '
                f'the {len(skips)} backbone features or one more; they have {len(kinds)}, {len(filters)}, '
                f'{len(num_blocks)} and {len(dilations)}'
            )
        self.num_stages = len(kinds)
        self.out_channels = [4 * base for base in filters]
        skips += [None] * (self.num_stages - len(skips))
        self.input_norms = nn.ModuleList(
            nn.Identity() if channels is None else build_norm(input_norm_cfg, channels)
            for channels in skips
        )
        self.fuses, self.blocks = nn.ModuleList(), nn.ModuleList()
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        for i in range(self.num_stages):
            if i > 0:
                self.fuses.append(
                    SkipFuse(
                        self.out_channels[i - 1],
                        skips[i],
                        filters[i],
                        align_corners=align_corners,
                        **common,
                    )
                )
            attention = axial or {} if kinds[i] == 'axial' else {}
            self.blocks.append(
                build_block_group(
                    kinds[i],
                    skips[0] if i == 0 else filters[i],
                    filters[i],
                    num_blocks[i],
                    dilation=dilations[i],
                    drop_path=drop_path,
                    **attention,
                    **common,
                )
            )

    def skips(self, features: Sequence[Tensor]) -> list[Tensor | None]:
        """One entry a stage, coarse to fine: the normalized backbone feature, or None where the backbone has none."""
        ordered = list(reversed(features)) + [None] * (self.num_stages - len(features))
        return [
            None if skip is None else norm(skip) for norm, skip in zip(self.input_norms, ordered)
        ]

    def stage(self, i: int, previous: Tensor | None, skip: Tensor | None) -> Tensor:
        """Features (B, 4 f_i, H, W) of stage i from those of stage i-1, which the centers may have updated since."""
        return self.blocks[i](skip if i == 0 else self.fuses[i - 1](previous, skip))
