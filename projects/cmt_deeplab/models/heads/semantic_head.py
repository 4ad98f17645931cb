"""The auxiliary semantic head: training only (deeplab2 ``PanopticDeepLabSingleDecoder``; model.md section 2)."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.drop_path import Dropout


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabv3): 1x1, three dilated 3x3, global average, concatenated and projected."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        rates: Sequence[int],
        norm_cfg: dict | None,
        act_cfg: dict,
        dropout: float,
    ) -> None:
        super().__init__()
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.branches = nn.ModuleList([ConvNorm(in_channels, out_channels, **common)])
        self.branches.extend(
            ConvNorm(in_channels, out_channels, 3, dilation=rate, **common) for rate in rates
        )
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvNorm(in_channels, out_channels, **common)
        )
        self.project = ConvNorm(out_channels * (len(rates) + 2), out_channels, **common)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        planes = [branch(x) for branch in self.branches]
        planes.append(self.pool(x).expand(-1, -1, *x.shape[-2:]))  # resizing one pixel repeats it
        return self.dropout(self.project(torch.cat(planes, dim=1)))


def separable(in_channels: int, out_channels: int, **common) -> nn.Sequential:
    """5x5 depthwise, then 1x1, each with norm and activation."""
    return nn.Sequential(
        ConvNorm(in_channels, in_channels, 5, groups=in_channels, **common),
        ConvNorm(in_channels, out_channels, **common),
    )


@MODELS.register_module()
class PanopticSemanticHead(nn.Module):
    """ASPP on the coarsest backbone feature, fused with strides 8 and 4; logits (B, C+1, H/4, W/4), void last.

    ``in_channels`` are the backbone's, fine to coarse; the features ``fuse`` counts back from the coarsest (2: stride 8, 3: stride 4).
    Without ``rates`` there is no ASPP: a coarsest feature of ``channels`` channels goes on as it is (MaX-DeepLab-L's decoded one).
    ``coarsest_act_cfg`` and ``skip_act_cfg`` activate features that come without their last activation, by the backbone's function:
    deeplab2's MaX-DeepLab has both kinds activated, its kMaX-DeepLab the skips alone.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        norm_cfg: dict | None,
        act_cfg: dict,
        align_corners: bool,
        channels: int = 256,
        fuse: Sequence[int] = (2, 3),
        fuse_channels: Sequence[int] = (64, 32),
        rates: Sequence[int] | None = (6, 12, 18),
        dropout: float = 0.1,
        coarsest_act_cfg: dict | None = None,
        skip_act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.align_corners, self.fuse = align_corners, fuse
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.coarsest_act = build_activation(coarsest_act_cfg)
        self.skip_act = build_activation(skip_act_cfg)
        if rates is None and in_channels[-1] != channels:
            raise UserError(
                f'PanopticSemanticHead: without rates the coarsest feature must have {channels} channels, not '
                f'{in_channels[-1]}'
            )
        self.aspp = (
            nn.Identity()
            if rates is None
            else ASPP(in_channels[-1], channels, rates=rates, dropout=dropout, **common)
        )
        self.projections = nn.ModuleList(
            ConvNorm(in_channels[-1 - back], width, **common)
            for back, width in zip(fuse, fuse_channels)
        )
        self.fusions = nn.ModuleList(
            separable(channels + width, channels, **common) for width in fuse_channels
        )
        self.head = separable(channels, channels, **common)
        self.classify = ConvNorm(
            channels, num_classes + 1, norm_cfg=None, bias=True, weight_std=0.01
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = self.aspp(self.coarsest_act(features[-1]))
        for back, project, fusion in zip(self.fuse, self.projections, self.fusions):
            skip = project(self.skip_act(features[-1 - back]))
            x = fusion(
                torch.cat(
                    [resize(x, skip.shape[-2:], align_corners=self.align_corners), skip], dim=1
                )
            )
        return self.classify(self.head(x))
