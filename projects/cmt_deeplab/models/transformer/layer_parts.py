"""What the layers of CMT-DeepLab, MaX-DeepLab and kMaX-DeepLab have in common."""

from collections.abc import Sequence
from typing import NamedTuple

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.drop_path import DropPath
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.precision import fp32_softmax
from cmt_deeplab.structures import MaskPrediction


class LayerOutput(NamedTuple):
    """What a layer makes of its pixel features and cluster centers.

    The softmax of ``logits`` over N says how far each pixel belongs to each center; the next
    layer may add them to its own, and pictures show them. The heads h are 1 in kMaX-DeepLab.
    """

    pixels: Tensor  # (B, Dp, H, W)
    centers: Tensor  # (B, D, N)
    logits: Tensor  # (B, h, N, H, W)
    prediction: MaskPrediction | None  # None unless the layer was asked to predict


def check_heads(layer: nn.Module, heads: int, key_channels: int, value_channels: int) -> None:
    """Raise a :class:`UserError` where keys or values cannot be split into ``heads``."""
    if key_channels % heads or value_channels % heads:
        raise UserError(
            f'{type(layer).__name__}: key_channels {key_channels} and value_channels '
            f'{value_channels} must be multiples of heads {heads}.'
        )


def build_layer_predictor(predictor: dict | None, channels: int) -> nn.Module | None:
    """A layer's own predictor, which reads its projected pixels and centers; None for None."""
    if predictor is None:
        return None
    widths = dict(pixel_channels=channels, center_channels=channels)
    return MODELS.build(dict(predictor, project_centers=False, **widths))


def split_heads(x: Tensor, depths: Sequence[int], heads: int) -> list[Tensor]:
    """Queries, keys or values, stacked as (B, sum of depths, M), as one (B, h, d, M) for each."""
    return [
        part.reshape(len(x), heads, depth // heads, x.shape[2])
        for part, depth in zip(x.split(depths, dim=1), depths)
    ]


def affinity(norm: nn.Module, query: Tensor, key: Tensor) -> Tensor:
    """Normalized products of (B, h, d, N) with (B, h, d, M), (B, h, N, M).

    The norm has one channel per head and takes the place of the factor 1 / sqrt(d).
    """
    return norm(query.transpose(2, 3) @ key)


def retrieve(value: Tensor, weights: Tensor) -> Tensor:
    """The sums (B, h d, N) of the values (B, h, d, M) with the weights (B, h, N, M)."""
    return (value @ weights.transpose(2, 3)).flatten(1, 2)


class RetrievedUpdate(nn.Module):
    """Retrieved values (B, Dv, ...) to a residual term of ``out_channels``.

    Norm, activation, 1x1 convolution, norm with an initial scale of 0, drop path; as in deeplab2
    (``dual_path_transformer.py``).
    """

    def __init__(
        self,
        value_channels: int,
        out_channels: int,
        *,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm = build_norm(norm_cfg, value_channels)
        self.act = build_activation(act_cfg)
        self.project = ConvNorm(value_channels, out_channels, norm_cfg=norm_cfg, gamma=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, value: Tensor) -> Tensor:
        if value.dim() == 3:
            return self.forward(value.unsqueeze(-1)).squeeze(-1)
        return self.drop_path(self.project(self.act(self.norm(value))))


class CenterSelfAttention(nn.Module):
    """Self-attention among the centers as a residual term (deeplab2 ``AttentionOperation``)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int,
        key_channels: int,
        value_channels: int,
        norm_cfg: dict | None,
        **update: dict | float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.depths = [key_channels, key_channels, value_channels]
        self.qkv = ConvNorm(
            in_channels, sum(self.depths), norm_cfg=norm_cfg, weight_std=in_channels**-0.5
        )
        self.similarity_norm = build_norm(norm_cfg, heads)
        self.update = RetrievedUpdate(value_channels, out_channels, norm_cfg=norm_cfg, **update)

    def forward(self, projected: Tensor) -> Tensor:
        """Projected centers (B, D', N) to the update (B, D, N)."""
        query, key, value = split_heads(self.qkv(projected), self.depths, self.heads)
        weights = fp32_softmax(affinity(self.similarity_norm, query, key), dim=3)  # (B, h, N, N)
        return self.update(retrieve(value, weights))


class CenterFeedForward(nn.Module):
    """Two 1x1 convolutions on the centers as a residual term; the last scale starts at 0."""

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        *,
        norm_cfg: dict | None,
        act_cfg: dict,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.expand = ConvNorm(channels, hidden_channels, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.reduce = ConvNorm(hidden_channels, channels, norm_cfg=norm_cfg, gamma=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, centers: Tensor) -> Tensor:
        return self.drop_path(self.reduce(self.expand(centers)))
