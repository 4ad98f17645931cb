"""Where things are: coordinates for the pixels, a few reference points for the centers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmt_deeplab.geometry import pixel_positions
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, InSteps
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import NUM_REFERENCE_POINTS


def coordinate_planes(like: Tensor, *, align_corners: bool) -> Tensor:
    """x and y of the pixels of ``like`` (B, C, H, W), (B, 2, H, W).

    They are in [-1, 1], which is the frame of the padded network input.
    """
    frame = dict(align_corners=align_corners, device=like.device, dtype=like.dtype)
    y, x = (2 * pixel_positions(side, **frame) - 1 for side in like.shape[-2:])
    planes = torch.stack(torch.meshgrid(x, y, indexing='xy'))
    return planes.expand(len(like), -1, -1, -1)


class ReferenceMask(InSteps):
    """Predicts, from each center, the mass center and four extreme points of its segment.

    Centers (B, D, N) become points (B, N, R, 2), (x, y) in [0, 1] of the padded input.

    CMT-DeepLab predicts a reference mask of a few points per center; which points these are is a
    choice of this project.
    """

    def __init__(self, center_channels: int, *, norm_cfg: dict | None, act_cfg: dict) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            ConvNorm(center_channels, center_channels, norm_cfg=norm_cfg, act_cfg=act_cfg),
            ConvNorm(
                center_channels, 2 * NUM_REFERENCE_POINTS, norm_cfg=None, bias=True, weight_std=0.01
            ),
        )

    @property
    def steps(self) -> list[Callable]:
        return [self.mlp, self._points]

    def _points(self, logits: Tensor) -> Tensor:
        points = at_least_fp32(logits).sigmoid()  # (B, 2R, N)
        return points.transpose(1, 2).unflatten(-1, (NUM_REFERENCE_POINTS, 2))
