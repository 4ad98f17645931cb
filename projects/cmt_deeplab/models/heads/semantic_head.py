"""The auxiliary semantic head, which runs while training only."""

from collections.abc import Sequence
from functools import partial

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation, together
from cmt_deeplab.models.blocks.drop_path import Dropout
from cmt_deeplab.models.blocks.module_config import require_sequences, require_sizes
from cmt_deeplab.models.blocks.recompute import concatenated, remade


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabv3) of a feature (B, C, H, W) to ``out_channels``.

    A 1x1 convolution, three dilated 3x3 convolutions and the global average are concatenated and
    projected.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, rates: Sequence[int], **common: dict | None
    ) -> None:
        super().__init__()
        branch = partial(ConvNorm, in_channels, out_channels, **common)
        self.branches = nn.ModuleList([branch()])
        self.branches.extend(branch(3, dilation=rate) for rate in rates)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), branch())
        self.project = ConvNorm(out_channels * (len(rates) + 2), out_channels, **common)
        self.dropout = Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        *features, pooled = together(*((x, branch) for branch in (*self.branches, self.pool)))
        # A resize of one pixel repeats it.
        features.append(pooled.expand(-1, -1, *x.shape[-2:]))
        return self.dropout(self.project(remade(concatenated, *features)))


def separable(in_channels: int, out_channels: int, **common: dict | None) -> nn.Sequential:
    """A 5x5 depthwise, then a 1x1 convolution, each with norm and activation."""
    return nn.Sequential(
        ConvNorm(in_channels, in_channels, 5, groups=in_channels, **common),
        ConvNorm(in_channels, out_channels, **common),
    )


@MODELS.register_module()
class PanopticSemanticHead(nn.Module):
    """Semantic logits (B, C+1, H, W), void last, from the features of the backbone.

    The coarsest feature goes through ASPP and is then fused with finer ones, by default those of
    strides 8 and 4. MaX-DeepLab-L, which reads a decoded feature, and kMaX-DeepLab on Cityscapes
    have neither ASPP nor fusions (``rates=None, fuse=(), fuse_channels=()``): the head reads the
    coarsest feature directly.

    Args:
        in_channels: widths of the features, fine to coarse.
        channels: width inside the head.
        fuse: which features are fused, counted back from the coarsest; 2 is stride 8 and 3 is
            stride 4 where the coarsest has stride 32.
        fuse_channels: width to which each of them is projected.
        rates: dilations of ASPP, or None for no ASPP.
        coarsest_act_cfg: activation of the coarsest feature where the backbone gives features
            before their last activation. deeplab2's MaX-DeepLab activates all features, its
            kMaX-DeepLab only the finer ones.
        skip_act_cfg: the same for the finer features.

    Source: deeplab2 (``PanopticDeepLabSingleDecoder`` and ``PanopticDeepLabSingleHead``).
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        align_corners: bool,
        channels: int = 256,
        fuse: Sequence[int] = (2, 3),
        fuse_channels: Sequence[int] = (64, 32),
        rates: Sequence[int] | None = (6, 12, 18),
        coarsest_act_cfg: dict | None = None,
        skip_act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if len(fuse) != len(fuse_channels):
            raise UserError(
                f'PanopticSemanticHead: fuse {tuple(fuse)} and fuse_channels '
                f'{tuple(fuse_channels)} need one entry per feature that is fused.'
            )
        if any(back not in range(1, len(in_channels)) for back in fuse):
            raise UserError(
                f'PanopticSemanticHead: fuse is {tuple(fuse)}, but with {len(in_channels)} '
                f'features it names some of 1 to {len(in_channels) - 1}, counted back from the '
                'coarsest: change fuse and fuse_channels, or the features (model.neck, or '
                'model.backbone.out_indices).'
            )
        require_sizes('PanopticSemanticHead', channels=channels)
        require_sequences('PanopticSemanticHead', fuse_channels=fuse_channels, rates=rates or ())
        self.align_corners, self.fuse = align_corners, fuse
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.coarsest_act = build_activation(coarsest_act_cfg)
        self.skip_act = build_activation(skip_act_cfg)
        self.aspp, width = nn.Identity(), in_channels[-1]
        if rates is not None:
            self.aspp, width = ASPP(width, channels, rates=rates, **common), channels
        self.projections, self.fusions = nn.ModuleList(), nn.ModuleList()
        for back, skip_width in zip(fuse, fuse_channels):
            self.projections.append(ConvNorm(in_channels[-1 - back], skip_width, **common))
        for skip_width in fuse_channels:
            self.fusions.append(separable(width + skip_width, channels, **common))
            width = channels
        self.head = separable(width, channels, **common)
        self.classify = ConvNorm(
            channels, num_classes + 1, norm_cfg=None, bias=True, weight_std=0.01
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """``features`` (B, C_i, H_i, W_i), fine to coarse; logits at the finest fused size."""
        x = self.aspp(self.coarsest_act(features[-1]))
        skips = [self.skip_act(features[-1 - back]) for back in self.fuse]
        skips = together(*zip(skips, self.projections))
        for skip, fusion in zip(skips, self.fusions):
            size = skip.shape[-2:]
            x = remade(partial(resize, size=size, align_corners=self.align_corners), x)
            x = fusion(remade(concatenated, x, skip))
        return self.classify(self.head(x))
