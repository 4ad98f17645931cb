"""Where things are: coordinates for the pixels, a reference mask of a few points for the centers (model.md section 1, step 0)."""

import torch
from torch import Tensor, nn

from cmt_deeplab.geometry import pixel_positions
from cmt_deeplab.models.blocks.conv_norm import ConvNorm
from cmt_deeplab.precision import at_least_fp32


def coordinate_planes(like: Tensor, *, align_corners: bool) -> Tensor:
    """(1, 2, H, W): x and y in [-1, 1] of the padded input at the pixel centers of ``like`` (B, ., H, W)."""
    height, width = like.shape[-2:]

    def axis(side: int) -> Tensor:
        frame = dict(align_corners=align_corners, device=like.device, dtype=like.dtype)
        return 2 * pixel_positions(side, **frame) - 1

    x = axis(width).view(1, 1, 1, width).expand(1, 1, height, width)
    y = axis(height).view(1, 1, height, 1).expand(1, 1, height, width)
    return torch.cat([x, y], dim=1)


class ReferenceMask(nn.Module):
    """Predicts R points of a center's segment from the center: mass center, top, left, bottom and right extreme point.

    (B, D, N) to (B, N, R, 2), (x, y) in [0, 1] of the padded input.
    """

    def __init__(
        self, center_channels: int, *, num_points: int, norm_cfg: dict | None, act_cfg: dict
    ) -> None:
        super().__init__()
        self.num_points = num_points
        self.mlp = nn.Sequential(
            ConvNorm(center_channels, center_channels, norm_cfg=norm_cfg, act_cfg=act_cfg),
            ConvNorm(center_channels, 2 * num_points, norm_cfg=None, bias=True, weight_std=0.01),
        )

    def forward(self, centers: Tensor) -> Tensor:
        points = at_least_fp32(self.mlp(centers)).sigmoid()  # (B, 2R, N)
        return points.transpose(1, 2).unflatten(-1, (self.num_points, 2))
