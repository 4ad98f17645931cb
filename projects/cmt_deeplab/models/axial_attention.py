"""Position-sensitive axial attention: self-attention along one axis of a feature map, then along the other."""
from typing import Optional

import torch
from torch import Tensor, nn

from .conv_norm import ConvNorm
from .norm import DEFAULT_NORM, build_norm

MAX_SPAN = 255  # deeplab2's: 509 relative positions, whatever the feature size


class RelativePositions(nn.Module):
    """Embeddings of the distances -(span - 1) .. span - 1 from a query to a memory position, one vector of ``depth`` for all heads.

    ``forward(L)`` gives, for every query l and every memory position counted from the END, m' = L - 1 - m, the embedding of m - l, as
    (L, depth, L) = [l, :, m']. In that order the embedding depends on l + m' alone, so the result is a view of the 2L - 1 rows in use
    with overlapping strides: no L x L x depth values are stored. Distances beyond the span use the embedding of the span.
    """

    def __init__(self, depth: int, *, span: int = MAX_SPAN) -> None:
        super().__init__()
        if span < 1:
            raise ValueError(f'the span of relative positions must be at least 1, not {span}')
        self.span = span
        self.weight = nn.Parameter(torch.empty(2 * span - 1, depth))
        nn.init.trunc_normal_(self.weight, std=1.0, a=-2.0, b=2.0)

    def forward(self, length: int) -> Tensor:
        beyond = max(length - self.span, 0)
        first = self.span - length + beyond
        rows = self.weight[first:self.weight.shape[0] - first].flip(0)  # distance L - 1 first
        if beyond:
            rows = torch.cat([rows[:1].expand(beyond, -1), rows, rows[-1:].expand(beyond, -1)])
        return rows.unfold(0, length, 1)

    def extra_repr(self) -> str:
        return f'span={self.span}, depth={self.weight.shape[1]}'


class AxialAttention(nn.Module):
    """Multi-head self-attention of sequences (B, in_channels, L) -> (B, value_depth, L) with relative positions for query, key and value.

    ``weights = softmax_m( BN(q_l . k_m) + BN(q_l . e^q_{m-l}) + BN(k_m . e^k_{m-l}) )`` and
    ``out_l = BN(sum_m weights v_m) + BN(sum_m weights e^v_{m-l})``: a norm of ``num_heads`` channels for each of the three similarities
    (it replaces 1/sqrt(d)), one of ``value_depth`` channels for each of the two retrieved terms; the similarities are one norm of
    3 h channels and the retrieved terms one of 2 value_depth channels. q, k and v are normalised too. Softmax in fp32. Any length.

    Source: Axial-DeepLab (ECCV 2020), deeplab2 code (``axial_layers.py``). Multiply-accumulates equal the source's: each positional term
    is one batched product over positions with a view of the embeddings (:class:`RelativePositions`).
    """

    def __init__(self, in_channels: int, *, key_depth: int, value_depth: int, num_heads: int = 8, span: int = MAX_SPAN,
                 norm_cfg: Optional[dict] = DEFAULT_NORM) -> None:
        super().__init__()
        if key_depth % num_heads or value_depth % num_heads:
            raise ValueError(f'key_depth {key_depth} and value_depth {value_depth} must be multiples of num_heads {num_heads}')
        self.key_depth, self.value_depth, self.num_heads = key_depth, value_depth, num_heads
        self.qkv = ConvNorm(in_channels, 2 * key_depth + value_depth, norm_cfg=norm_cfg, weight_std=in_channels ** -0.5)
        self.query_positions = RelativePositions(key_depth // num_heads, span=span)
        self.key_positions = RelativePositions(key_depth // num_heads, span=span)
        self.value_positions = RelativePositions(value_depth // num_heads, span=span)
        self.similarity_norm = build_norm(norm_cfg, 3 * num_heads)
        self.retrieved_norm = build_norm(norm_cfg, 2 * value_depth)

    def forward(self, x: Tensor) -> Tensor:
        batch, heads, length = x.shape[0], self.num_heads, x.shape[2]
        queries, keys, values = self.qkv(x).split([self.key_depth, self.key_depth, self.value_depth], dim=1)
        # Memory positions run backwards (m') from here on, see RelativePositions. The softmax does not mind.
        keys, values = keys.flip(-1), values.flip(-1)
        q = queries.permute(2, 0, 1).reshape(length, batch * heads, -1)  # (L, Bh, d)
        k = keys.permute(2, 0, 1).reshape(length, batch * heads, -1)  # (L, Bh, d)
        v = values.reshape(batch * heads, -1, length)  # (Bh, dv, L)

        content = torch.bmm(q.transpose(0, 1), k.permute(1, 2, 0))  # (Bh, L, L) = [., l, m']
        from_query = torch.bmm(q, self.query_positions(length)).transpose(0, 1)  # [l, ., m'] -> [., l, m']
        from_key = torch.bmm(k, self.key_positions(length)).permute(1, 2, 0)  # [m', ., l] -> [., l, m']
        similarity = torch.cat([term.reshape(batch, heads, length, length) for term in (content, from_query, from_key)], dim=1)
        similarity = self.similarity_norm(similarity).view(batch, 3, heads, length, length)
        weights = similarity.sum(1, dtype=torch.float32).softmax(-1).to(v.dtype).view(batch * heads, length, length)

        retrieved = torch.bmm(v, weights.transpose(1, 2))  # (Bh, dv, L)
        positions = torch.bmm(weights.transpose(0, 1), self.value_positions(length).transpose(1, 2)).permute(1, 2, 0)  # [l, ., dv] -> [., dv, l]
        retrieved = torch.cat([term.reshape(batch, self.value_depth, length) for term in (retrieved, positions)], dim=1)
        retrieved = self.retrieved_norm(retrieved.unsqueeze(-1))
        return retrieved.view(batch, 2, self.value_depth, length).sum(1)


class AxialAttention2D(nn.Module):
    """Attention along the height axis, then along the width axis: (B, in_channels, H, W) -> (B, value_expansion * filters, H', W').

    With ``stride`` s each axis is subsampled (``[::s]``) after its own attention, as deeplab2 does: every position takes part as memory,
    and an odd size n gives (n + 1) / 2, its corners in place.
    """

    def __init__(self, in_channels: int, filters: int, *, num_heads: int = 8, key_expansion: int = 1, value_expansion: int = 2,
                 stride: int = 1, span: int = MAX_SPAN, norm_cfg: Optional[dict] = DEFAULT_NORM) -> None:
        super().__init__()
        key_depth, value_depth = int(round(filters * key_expansion)), int(round(filters * value_expansion))
        shared = dict(key_depth=key_depth, value_depth=value_depth, num_heads=num_heads, span=span, norm_cfg=norm_cfg)
        self.out_channels, self.stride = value_depth, stride
        self.height_axis = AxialAttention(in_channels, **shared)
        self.width_axis = AxialAttention(value_depth, **shared)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        columns = x.permute(0, 3, 1, 2).reshape(batch * width, channels, height)
        columns = self.height_axis(columns)[..., ::self.stride].unflatten(0, (batch, width))  # (B, W, C, H')
        height = columns.shape[-1]
        rows = columns.permute(0, 3, 2, 1).reshape(batch * height, self.out_channels, width)
        rows = self.width_axis(rows)[..., ::self.stride].unflatten(0, (batch, height))  # (B, H', C, W')
        return rows.transpose(1, 2).contiguous()
