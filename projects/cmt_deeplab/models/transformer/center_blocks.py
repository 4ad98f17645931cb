"""What every layer does to its cluster centers, whatever they heard from the pixels: heads, self-attention, feed-forward."""

import torch
from torch import Tensor, nn

from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.drop_path import DropPath
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.precision import at_least_fp32


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, D, M) to (B, h, D/h, M)."""
    batch, channels, length = x.shape
    return x.reshape(batch, heads, channels // heads, length)


def merge_heads(x: Tensor) -> Tensor:
    """(B, h, D/h, M) to (B, D, M)."""
    return x.flatten(1, 2)


def fp32_softmax(logits: Tensor, dim: int) -> Tensor:
    """Softmax computed in fp32 and handed on in the dtype of ``logits``."""
    return torch.softmax(at_least_fp32(logits), dim=dim).to(logits.dtype)


class RetrievedUpdate(nn.Module):
    """norm -> activation -> 1x1 -> norm with gamma 0 -> drop path: how retrieved values (B, Dv, ...) become a residual term [deeplab2]."""

    def __init__(
        self,
        value_channels: int,
        out_channels: int,
        *,
        norm_cfg: dict | None,
        act_cfg: dict,
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
    """Self-attention among the centers as a residual term; similarity norm instead of 1/sqrt(d) [deeplab2 ``AttentionOperation``]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int,
        key_channels: int,
        value_channels: int,
        norm_cfg: dict | None,
        act_cfg: dict,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.depths = [key_channels, key_channels, value_channels]
        self.qkv = ConvNorm(
            in_channels, sum(self.depths), norm_cfg=norm_cfg, weight_std=in_channels**-0.5
        )
        self.similarity_norm = build_norm(norm_cfg, heads)
        self.update = RetrievedUpdate(
            value_channels, out_channels, norm_cfg=norm_cfg, act_cfg=act_cfg, drop_path=drop_path
        )

    def forward(self, projected: Tensor) -> Tensor:
        """Projected centers (B, D', N) to the update (B, D, N)."""
        query, key, value = (
            split_heads(part, self.heads) for part in self.qkv(projected).split(self.depths, dim=1)
        )
        weights = fp32_softmax(
            self.similarity_norm(query.transpose(-1, -2) @ key), dim=-1
        )  # (B, h, N, N)
        return self.update(merge_heads(value @ weights.transpose(-1, -2)))


class CenterFeedForward(nn.Module):
    """Two 1x1 convolutions on the centers as a residual term; gamma 0 at its end [deeplab2]."""

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
