"""From pixel features and cluster centers to masks and classes, in one form for all stages."""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.models.blocks.conv_norm import ConvNorm, has_forward_of, norm_step, together
from cmt_deeplab.models.blocks.module_config import require_sizes
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.structures import MaskPrediction

VOID_PRIOR = 0.9  # the probability of void at the start, by a constant bias of its logit


@MODELS.register_module()
class CMTPredictor(nn.Module):
    """Masks are products of normalized pixel features with a kernel per center, then normalized.

    One norm of a single channel scales all mask logits; classes are linear in the centers.

    Args:
        project_centers: whether the centers first pass a 1x1 convolution for their classes and
            another for their kernels, as in the final predictor. The predictor of a layer reads
            the layer's own projection directly.
        hidden_channels: width inside the pixels' branch.
        feature_channels: width of the normalized pixel features.
        mask_gamma: initial scale of the mask logits. An adaptive optimizer moves it by about one
            learning rate per step, so short schedules start above the 0.1 of the sources.
        center_hidden_channels: width of the projected centers, ``hidden_channels`` by default.

    Source: deeplab2 (``decoder/max_deeplab.py``), kmax-deeplab (``kMaXPredictor``).
    """

    def __init__(
        self,
        *,
        pixel_channels: int,
        center_channels: int,
        num_classes: int,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        project_centers: bool,
        hidden_channels: int = 256,
        feature_channels: int = 128,
        mask_gamma: float = 0.1,
        center_hidden_channels: int | None = None,
    ) -> None:
        super().__init__()
        width = hidden_channels if center_hidden_channels is None else center_hidden_channels
        require_sizes(
            'CMTPredictor',
            hidden_channels=hidden_channels,
            feature_channels=feature_channels,
            center_hidden_channels=width,
        )
        norm, common = dict(norm_cfg=norm_cfg), dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.pixel_head = nn.Sequential(
            ConvNorm(pixel_channels, pixel_channels, 5, groups=pixel_channels, **common),
            ConvNorm(pixel_channels, hidden_channels, **common),
            ConvNorm(hidden_channels, feature_channels, bias=True, weight_std=0.01, **norm),
        )
        self.class_projection = self.mask_projection = nn.Identity()
        if project_centers:
            self.class_projection = ConvNorm(center_channels, width, **common)
            self.mask_projection = ConvNorm(center_channels, width, **common)
            center_channels = width
        self.mask_head = ConvNorm(center_channels, feature_channels, **norm)
        self.class_head = ConvNorm(
            center_channels, num_classes + 1, norm_cfg=None, bias=True, weight_std=0.01
        )
        self.mask_norm = build_norm(norm_cfg, 1, gamma=mask_gamma)
        void_bias = torch.zeros(num_classes + 1)
        void_bias[-1] = log(num_classes * VOID_PRIOR / (1 - VOID_PRIOR))
        self.register_buffer('void_bias', void_bias, persistent=False)

    def forward(
        self, pixels: Tensor, centers: Tensor, reference_points: Tensor | None = None
    ) -> MaskPrediction:
        """``pixels`` (B, Dp, H, W) and ``centers`` (B, D, N); the points are handed on."""
        return predict_together([PredictorCall(self, pixels, centers, reference_points)])[0]


class PredictorCall(NamedTuple):
    """A predictor and what it reads."""

    predictor: nn.Module
    pixels: Tensor
    centers: Tensor
    reference_points: Tensor | None = None

    def __call__(self) -> MaskPrediction:
        return self.predictor(*self[1:])


def predict_together(calls: Sequence[PredictorCall]) -> list[MaskPrediction]:
    """What several :class:`CMTPredictor` predict; their norms share exchanges among processes."""
    branches = []
    for one, pixels, centers, _ in calls:
        branches += [
            (pixels, (one.pixel_head, unit_length)),  # (B, 128, H, W)
            (centers, (one.mask_projection, one.mask_head)),  # (B, 128, N)
            (centers, (one.class_projection, one.class_head)),  # (B, C+1, N)
        ]
    found = together(*branches)
    features, kernels, class_logits = found[::3], found[1::3], found[2::3]
    products = (
        (kernel.transpose(1, 2) @ feature.flatten(2)).unsqueeze(1)  # (B, 1, N, HW)
        for kernel, feature in zip(kernels, features)
    )
    norms = (norm_step(call.predictor.mask_norm) for call in calls)
    mask_logits = together(*zip(products, norms))
    return [
        MaskPrediction(
            mask_logits=masks.squeeze(1).unflatten(-1, feature.shape[-2:]),
            class_logits=classes.transpose(1, 2) + call.predictor.void_bias,
            pixel_features=feature,
            reference_points=call.reference_points,
        )
        for call, masks, classes, feature in zip(calls, mask_logits, class_logits, features)
    ]


def predict_all(predictions: Sequence[MaskPrediction | PredictorCall]) -> list[MaskPrediction]:
    """The predictions, for which calls are made here; several of :class:`CMTPredictor` together."""
    own = [
        isinstance(one, PredictorCall) and has_forward_of(CMTPredictor, one.predictor)
        for one in predictions
    ]
    if sum(own) == 1:  # as a call of the module, which its hooks and the count of operations see
        own = [False] * len(own)
    found = iter(predict_together([one for one, joint in zip(predictions, own) if joint]))
    return [
        next(found) if joint else one() if isinstance(one, PredictorCall) else one
        for one, joint in zip(predictions, own)
    ]


def unit_length(x: Tensor) -> Tensor:
    """Maps (B, C, H, W) as vectors of the length 1, which is computed in fp32 at least."""
    length = torch.linalg.vector_norm(
        x, dim=1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32)
    )
    # A length of 1e-12 would be 0 in fp16.
    return x / length.clamp(min=max(1e-12, torch.finfo(x.dtype).tiny)).to(x.dtype)
