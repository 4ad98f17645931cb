"""MaX-DeepLab's pixel path behind the backbone: blocks at one stride, then hourglasses."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation, together
from cmt_deeplab.models.blocks.module_config import require_sequences
from cmt_deeplab.models.blocks.residual_blocks import build_block_group

KeptFeatures = dict[int, list[Tensor]]  # from a stride to its features, oldest first


class ResizedSum(nn.Module):
    """The stage before, brought to another stride, plus the kept features of that stride.

    A kept feature of the right width is added as it is; any other is activated and projected by a
    1x1 convolution with a norm, and so is the stage before. Downwards its 1x1 convolution has
    stride 2, upwards a bilinear resize follows. The sum has no activation, since the residual
    blocks begin with one. Source: deeplab2 (``layers/resized_fuse.py``).
    """

    def __init__(
        self,
        in_channels: int,
        kept_channels: Sequence[int],
        out_channels: int,
        *,
        downwards: bool,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        align_corners: bool,
    ) -> None:
        super().__init__()
        if in_channels == out_channels:
            raise UserError(
                f'MaXPixelDecoder: neighboring strides both have {out_channels} channels: double '
                'the filters with the stride.'
            )
        self.align_corners = align_corners
        self.act = build_activation(act_cfg)
        self.previous = ConvNorm(in_channels, out_channels, stride=1 + downwards, norm_cfg=norm_cfg)
        self.kept = nn.ModuleList()
        for channels in kept_channels:
            project = nn.Identity()
            if channels != out_channels:
                convolution = ConvNorm(channels, out_channels, norm_cfg=norm_cfg)
                project = nn.Sequential(build_activation(act_cfg), convolution)
            self.kept.append(project)

    def forward(self, previous: Tensor, kept: Sequence[Tensor]) -> Tensor:
        previous, *planes = together((self.act(previous), self.previous), *zip(kept, self.kept))
        size = planes[0].shape[-2:]
        return resize(previous, size, align_corners=self.align_corners) + sum(planes)


@MODELS.register_module()
class MaXPixelDecoder(nn.Module):
    """Pixel path in stages, each at a stride of its own: ``stage(i, previous, skip) -> features``.

    The transformer layers of a stage work between it and the next one. The first stage reads the
    coarsest feature of the backbone. A stage at the stride of the one before continues it. A
    stage at half or double the stride adds the last two features that were kept at the new
    stride. Kept are the features of the backbone and then the end of each run of stages at one
    stride, after its layers; the first run is the end of the backbone and replaces what was kept
    at its stride. The features of the last stage come activated.

    MaX-DeepLab-S has four axial blocks at stride 16 and a bottleneck at each of 8 and 4;
    MaX-DeepLab-L goes up and down again twice.

    Args:
        in_channels: widths of the backbone's features, fine to coarse.
        in_strides: their strides.
        kinds: 'axial', 'bottleneck' or 'basic', the kind of the residual blocks of each stage.
        filters: base filters f of each stage; 4f channels come out.
        num_blocks: number of residual blocks of each stage.
        strides: stride of each stage.
        drop_path: of each stage, or one number for all.
        axial: further arguments of the axial blocks (their expansions).

    Source: deeplab2 (``encoder/axial_resnet.py``).
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        norm_cfg: dict | None,
        act_cfg: dict | None,
        align_corners: bool,
        in_strides: Sequence[int] = (4, 8, 16),
        kinds: Sequence[str] = ('axial',) * 4 + ('bottleneck',) * 2,
        filters: Sequence[int] = (512, 512, 512, 512, 128, 64),
        num_blocks: Sequence[int] = (1, 1, 1, 1, 1, 1),
        strides: Sequence[int] = (16, 16, 16, 16, 8, 4),
        drop_path: float | Sequence[float] = 0.0,
        axial: dict = dict(),
    ) -> None:
        super().__init__()
        require_sequences(
            'MaXPixelDecoder', kinds=kinds, filters=filters, num_blocks=num_blocks, strides=strides
        )
        if not isinstance(drop_path, Sequence):
            drop_path = [drop_path] * len(kinds)
        lengths = [len(kinds), len(filters), len(num_blocks), len(strides), len(drop_path)]
        if len(set(lengths)) > 1:
            raise UserError(
                'MaXPixelDecoder: kinds, filters, num_blocks, strides and drop_path need one '
                f'entry per stage; their lengths are {lengths}.'
            )
        if len(in_channels) != len(in_strides):
            raise UserError(
                f'MaXPixelDecoder: {len(in_channels)} features come in, but in_strides '
                f'names {len(in_strides)}: set backbone.out_indices or pixel_decoder.in_strides.'
            )
        self.num_stages, self.strides, self.in_strides = len(kinds), tuple(strides), in_strides
        self.out_channels = [4 * base for base in filters]
        self.act = build_activation(act_cfg)
        self.fuses, self.blocks = nn.ModuleDict(), nn.ModuleList()
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        # The widths that are kept at each stride, by the same rule as the features later.
        kept = {stride: [channels] for stride, channels in zip(in_strides, in_channels)}
        before, channels = in_strides[-1], in_channels[-1]
        stages = zip(strides, kinds, filters, num_blocks, drop_path, self.out_channels)
        for i, (stride, kind, base, count, drop, width) in enumerate(stages):
            if i > 0 and stride != before:
                if stride not in kept or max(stride, before) != 2 * min(stride, before):
                    raise UserError(
                        f'MaXPixelDecoder: stage {i} goes from stride {before} to {stride}, but '
                        'it needs half or double the stride and a feature there, and there are '
                        f'features at {sorted(kept)}.'
                    )
                self._keep(kept, i - 1, channels)
                downwards, last_two = stride > before, kept[stride][-2:]
                options = dict(downwards=downwards, align_corners=align_corners, **common)
                self.fuses[str(i - 1)] = ResizedSum(channels, last_two, width, **options)
                channels = width
            options = dict(common, stride=stride // before if i == 0 else 1)
            if kind == 'axial':
                options.update(axial)
            blocks = [(kind, drop)] * count
            self.blocks.append(build_block_group(blocks, channels, base, **options))
            before, channels = stride, width

    def _keep(self, kept: dict[int, list], i: int, feature) -> None:
        """Keep the end of a run of stages, stage i, at its stride."""
        stride = self.strides[i]
        first_run = len(set(self.strides[: i + 1])) == 1
        kept[stride] = [feature] if first_run else [*kept.get(stride, []), feature]

    def skips(self, features: Sequence[Tensor]) -> list[KeptFeatures]:
        """One entry per stage: the same record of this forward pass for all of them.

        It begins with the features of the backbone.
        """
        record = {stride: [feature] for stride, feature in zip(self.in_strides, features)}
        return [record] * self.num_stages

    def stage(self, i: int, previous: Tensor | None, skip: KeptFeatures) -> Tensor:
        """Features (B, 4 f_i, H, W) of stage i from those that the layers left of stage i-1."""
        if i == 0:
            x = skip[self.in_strides[-1]][-1]
        elif self.strides[i] == self.strides[i - 1]:
            x = previous
        else:
            self._keep(skip, i - 1, previous)
            x = self.fuses[str(i - 1)](previous, skip[self.strides[i]][-2:])
        x = self.blocks[i](x)
        return self.act(x) if i == self.num_stages - 1 else x
