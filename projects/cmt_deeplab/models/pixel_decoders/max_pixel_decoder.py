"""MaX-DeepLab's pixel path behind the backbone: blocks at one stride, then hourglass decoders (deeplab2 ``axial_resnet.py``)."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.basic_block import basic_block_group
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.residual_blocks import build_block_group

KeptFeatures = dict[int, list[Tensor]]  # stride to the features at that stride, oldest first


class ResizedSum(nn.Module):
    """The stage before, brought to another stride, plus the kept features of that stride.

    A feature of the right width is added as it is, any other goes through act, 1x1 + norm first; downwards the 1x1 has stride 2, upwards
    a bilinear resize follows [deeplab2 ``ResizedFuse``]. No activation at the end: the residual blocks begin with one.
    """

    def __init__(
        self,
        in_channels: int,
        kept_channels: Sequence[int],
        out_channels: int,
        *,
        downwards: bool,
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
    ) -> None:
        super().__init__()
        if in_channels == out_channels:
            raise UserError(
                f'MaXPixelDecoder: neighboring strides both have {out_channels} channels; double the filters with the stride'
            )
        self.align_corners = align_corners
        self.act = build_activation(act_cfg)
        self.previous = ConvNorm(
            in_channels, out_channels, stride=2 if downwards else 1, norm_cfg=norm_cfg
        )
        self.kept = nn.ModuleList(
            nn.Identity()
            if channels == out_channels
            else nn.Sequential(
                build_activation(act_cfg), ConvNorm(channels, out_channels, norm_cfg=norm_cfg)
            )
            for channels in kept_channels
        )

    def forward(self, previous: Tensor, kept: Sequence[Tensor]) -> Tensor:
        planes = [project(feature) for project, feature in zip(self.kept, kept)]
        return resize(
            self.previous(self.act(previous)),
            planes[0].shape[-2:],
            align_corners=self.align_corners,
        ) + sum(planes)


@MODELS.register_module()
class MaXPixelDecoder(nn.Module):
    """Pixel path in stages, each at a stride of its own: ``stage(i, previous, skip) -> features``, layers between them.

    The five sequences give each stage's block kind ('axial', 'bottleneck' or 'basic'), base filters f (4f channels come out), number of
    blocks, stride and drop path (one number serves all). The first stage reads the coarsest backbone feature. A stage at the stride of
    the one before it continues it; a stage at half or double the stride fuses it with the last two features kept at the new stride:
    the backbone's (fine to coarse, ``in_channels`` at ``in_strides``), then the end of every run of stages at that stride, layers
    included. The first run, being the end of the backbone, replaces what its stride had. The last stage's features come activated.

    MaX-DeepLab-S is four axial blocks at stride 16 and one bottleneck at each of 8 and 4; -L goes down and up again twice.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
        in_strides: Sequence[int] = (4, 8, 16),
        kinds: Sequence[str] = ('axial',) * 4 + ('bottleneck',) * 2,
        filters: Sequence[int] = (512, 512, 512, 512, 128, 64),
        num_blocks: Sequence[int] = (1, 1, 1, 1, 1, 1),
        strides: Sequence[int] = (16, 16, 16, 16, 8, 4),
        drop_path: float | Sequence[float] = 0.0,
        axial: dict | None = None,
    ) -> None:
        super().__init__()
        count = len(kinds)
        drop_path = (drop_path,) * count if isinstance(drop_path, (int, float)) else drop_path
        if not count == len(filters) == len(num_blocks) == len(strides) == len(drop_path):
            raise UserError(
                'MaXPixelDecoder: kinds, filters, num_blocks, strides and drop_path need one entry a stage; they have '
                f'{count}, {len(filters)}, {len(num_blocks)}, {len(strides)} and {len(drop_path)}'
            )
        if len(in_channels) != len(in_strides):
            raise UserError(
                f'MaXPixelDecoder: the backbone gives {len(in_channels)} features, in_strides names {len(in_strides)}: set '
                'backbone.out_indices or pixel_decoder.in_strides'
            )
        self.num_stages, self.strides, self.in_strides = count, tuple(strides), tuple(in_strides)
        self.out_channels = [4 * base for base in filters]
        self.act = build_activation(act_cfg)
        self.fuses, self.blocks = nn.ModuleList(), nn.ModuleList()
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        kept = {
            stride: [channels] for stride, channels in zip(in_strides, in_channels)
        }  # widths, kept by the rule of _keep
        before, channels = in_strides[-1], in_channels[-1]
        for i, stride in enumerate(strides):
            first_stride = stride // before if i == 0 else 1
            if i > 0 and stride == before:
                self.fuses.append(nn.Identity())
            elif i > 0:
                if stride not in kept or max(stride, before) != 2 * min(stride, before):
                    raise UserError(
                        f'MaXPixelDecoder: stage {i} goes from stride {before} to {stride}; it needs half or double the '
                        f'stride and a feature there, and there are features at {sorted(kept)}'
                    )
                self._keep(kept, i - 1, channels)
                self.fuses.append(
                    ResizedSum(
                        channels,
                        kept[stride][-2:],
                        4 * filters[i],
                        downwards=stride > before,
                        align_corners=align_corners,
                        **common,
                    )
                )
                channels = 4 * filters[i]
            group = dict(stride=first_stride, drop_path=drop_path[i], **common)
            if kinds[i] == 'basic':
                self.blocks.append(basic_block_group(channels, filters[i], num_blocks[i], **group))
            else:
                attention = axial or {} if kinds[i] == 'axial' else {}
                self.blocks.append(
                    build_block_group(
                        kinds[i], channels, filters[i], num_blocks[i], **attention, **group
                    )
                )
            before, channels = stride, self.out_channels[i]

    def _keep(self, kept: dict[int, list], i: int, feature) -> None:
        """Files the end of a run of stages, stage i, under its stride."""
        stride = self.strides[i]
        first_run = len(set(self.strides[: i + 1])) == 1
        kept[stride] = [feature] if first_run else kept.get(stride, []) + [feature]

    def skips(self, features: Sequence[Tensor]) -> list[KeptFeatures]:
        """One entry a stage: the same record of this forward pass for all, the backbone's features to begin with."""
        return [
            {stride: [feature] for stride, feature in zip(self.in_strides, features)}
        ] * self.num_stages

    def stage(self, i: int, previous: Tensor | None, skip: KeptFeatures) -> Tensor:
        """Features (B, 4 f_i, H, W) of stage i from those of stage i-1, which the centers may have updated since."""
        if i == 0:
            x = skip[self.in_strides[-1]][-1]
        elif self.strides[i] == self.strides[i - 1]:
            x = previous
        else:
            self._keep(skip, i - 1, previous)
            x = self.fuses[i - 1](previous, skip[self.strides[i]][-2:])
        x = self.blocks[i](x)
        return self.act(x) if i == self.num_stages - 1 else x
