"""Where things are: coordinates for the pixels, a reference mask of a few points for the centres (model.md section 1, step 0)."""
from typing import Optional

import torch
from torch import Tensor, nn

from ..precision import at_least_fp32
from .conv_norm import ConvNorm


def coordinate_planes(like: Tensor, *, align_corners: bool) -> Tensor:
    """(1, 2, H, W): x and y in [-1, 1] of the padded input at the pixel centres of ``like`` (B, ., H, W)."""
    height, width = like.shape[-2:]

    def axis(side: int) -> Tensor:
        index = torch.arange(side, device=like.device, dtype=like.dtype)
        if align_corners:
            return index * (2.0 / max(side - 1, 1)) - 1.0
        return (2.0 * index + 1.0) / side - 1.0

    x = axis(width).view(1, 1, 1, width).expand(1, 1, height, width)
    y = axis(height).view(1, 1, height, 1).expand(1, 1, height, width)
    return torch.cat([x, y], dim=1)


class ReferenceMask(nn.Module):
    """Predicts R points of a centre's segment from the centre: mass centre, top, left, bottom and right extreme point.

    (B, D, N) to (B, N, R, 2), (x, y) in [0, 1] of the padded input.
    """

    def __init__(self, centre_channels: int, *, num_points: int, norm_cfg: Optional[dict], act_cfg: dict) -> None:
        super().__init__()
        self.num_points = num_points
        self.mlp = nn.Sequential(ConvNorm(centre_channels, centre_channels, norm_cfg=norm_cfg, act_cfg=act_cfg),
                                 ConvNorm(centre_channels, 2 * num_points, norm_cfg=None, bias=True, weight_std=0.01))

    def forward(self, centres: Tensor) -> Tensor:
        points = at_least_fp32(self.mlp(centres)).sigmoid()  # (B, 2R, N)
        return points.transpose(1, 2).unflatten(-1, (self.num_points, 2))
