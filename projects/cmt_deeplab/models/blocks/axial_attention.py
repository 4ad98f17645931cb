"""Position-sensitive axial attention: self-attention along one axis of a feature map, then along the other."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmt_deeplab.errors import UserError

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
            raise UserError(f'the span of relative positions must be at least 1, not {span}')
        self.span = span
        self.weight = nn.Parameter(torch.empty(2 * span - 1, depth))
        nn.init.trunc_normal_(self.weight, std=1.0, a=-2.0, b=2.0)

    def forward(self, length: int) -> Tensor:
        beyond = max(length - self.span, 0)
        first = self.span - length + beyond
        rows = self.weight[first : self.weight.shape[0] - first].flip(0)  # distance L - 1 first
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
    3 h channels and the retrieved terms one of 2 value_depth channels. q, k and v are normalized too. Softmax in fp32. Any length.

    Source: Axial-DeepLab (ECCV 2020), deeplab2 code (``axial_layers.py``). Multiply-accumulates equal the source's: each positional term
    is one batched product over positions with a view of the embeddings (:class:`RelativePositions`).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        key_depth: int,
        value_depth: int,
        num_heads: int = 8,
        span: int = MAX_SPAN,
        norm_cfg: dict | None = DEFAULT_NORM,
    ) -> None:
        super().__init__()
        if key_depth % num_heads or value_depth % num_heads:
            raise UserError(
                f'key_depth {key_depth} and value_depth {value_depth} must be multiples of num_heads {num_heads}'
            )
        self.key_depth, self.value_depth, self.num_heads = key_depth, value_depth, num_heads
        self.qkv = ConvNorm(
            in_channels,
            2 * key_depth + value_depth,
            norm_cfg=norm_cfg,
            weight_std=in_channels**-0.5,
        )
        self.query_positions = RelativePositions(key_depth // num_heads, span=span)
        self.key_positions = RelativePositions(key_depth // num_heads, span=span)
        self.value_positions = RelativePositions(value_depth // num_heads, span=span)
        self.similarity_norm = build_norm(norm_cfg, 3 * num_heads)
        self.retrieved_norm = build_norm(norm_cfg, 2 * value_depth)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self._project(x)
        weights = self._weights(self._normalize(self._similarities(queries, keys)), values.dtype)
        retrieved = (
            self.retrieved_norm(self._retrieve(weights, values)).squeeze(2).transpose(1, 2)
        )  # (B, L, 2 value_depth)
        return retrieved.unflatten(2, (2, self.value_depth)).sum(2).transpose(1, 2)

    # Separate functions: what they leave behind is freed before the next norm runs. Channels-last inside, (B, L, C) in memory: every copy,
    # forward and backward, moves whole rows. Heads come before the batch, so that the three similarities are three blocks of one tensor.

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (L, hB, d); keys (L, hB, d) and values (L, hB, dv) in the order m' of :class:`RelativePositions`."""
        qkv = self.qkv(x.unsqueeze(2)).squeeze(2).transpose(1, 2)  # (B, L, C)
        parts = qkv.split([self.key_depth, self.key_depth, self.value_depth], dim=2)
        queries, keys, values = (
            part.unflatten(2, (self.num_heads, -1)).permute(1, 2, 0, 3) for part in parts
        )  # (L, h, B, d)
        backwards = torch.arange(x.shape[2] - 1, -1, -1, device=x.device)
        return (
            queries.flatten(1, 2),
            keys.index_select(0, backwards).flatten(1, 2),
            values.index_select(0, backwards).flatten(1, 2),
        )

    def _similarities(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(3, hB, L, L): content and query terms [., l, m'], key term [., m', l] the way its product comes out; a norm does not mind."""
        length = queries.shape[0]
        content = torch.bmm(queries.transpose(0, 1), keys.permute(1, 2, 0))
        from_query = torch.bmm(queries, self.query_positions(length)).transpose(0, 1)
        from_key = torch.bmm(keys, self.key_positions(length)).transpose(0, 1)
        return torch.stack([content, from_query, from_key])

    def _normalize(self, similarities: Tensor) -> Tensor:
        """The norm of 3 h channels over (3, hB, L, L)."""
        by_channel = similarities.unflatten(1, (self.num_heads, -1)).flatten(0, 1)  # (3h, B, L, L)
        if isinstance(
            self.similarity_norm, _BatchNorm
        ):  # one statistic for the batch: it may count as positions, which saves a copy
            normed = self.similarity_norm(by_channel.flatten(1, 2).unsqueeze(0))
        else:
            normed = self.similarity_norm(by_channel.transpose(0, 1)).transpose(0, 1)
        return normed.reshape(similarities.shape)

    def _weights(self, similarities: Tensor, dtype: torch.dtype) -> Tensor:
        """(hB, L, L) = [., l, m'], summing to 1 over m'."""
        content, from_query, from_key = similarities.unbind()
        at_least_fp32 = torch.promote_types(similarities.dtype, torch.float32)
        return (
            (content.to(at_least_fp32) + from_query)
            .add_(from_key.transpose(1, 2))
            .softmax(-1)
            .to(dtype)
        )

    def _retrieve(self, weights: Tensor, values: Tensor) -> Tensor:
        """(B, 2 value_depth, 1, L), channels-last: the attended values, then the attended positions."""
        heads, length = self.num_heads, weights.shape[-1]
        content = torch.bmm(weights, values.transpose(0, 1))  # (hB, L, dv)
        positions = torch.bmm(
            weights.transpose(0, 1), self.value_positions(length).transpose(1, 2)
        )  # (L, hB, dv)
        content = content.unflatten(0, (heads, -1)).permute(1, 2, 0, 3)  # (B, L, h, dv)
        positions = positions.unflatten(1, (heads, -1)).permute(2, 0, 1, 3)
        return torch.stack([content, positions], dim=2).flatten(2).transpose(1, 2).unsqueeze(2)


class AxialAttention2D(nn.Module):
    """Attention along the height axis, then along the width axis: (B, in_channels, H, W) -> (B, value_expansion * filters, H', W').

    With ``stride`` s each axis is subsampled (``[::s]``) after its own attention, as deeplab2 does: every position takes part as memory,
    and an odd size n gives (n + 1) / 2, its corners in place.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        num_heads: int = 8,
        key_expansion: int = 1,
        value_expansion: int = 2,
        stride: int = 1,
        span: int = MAX_SPAN,
        norm_cfg: dict | None = DEFAULT_NORM,
    ) -> None:
        super().__init__()
        key_depth, value_depth = (
            int(round(filters * key_expansion)),
            int(round(filters * value_expansion)),
        )
        shared = dict(
            key_depth=key_depth,
            value_depth=value_depth,
            num_heads=num_heads,
            span=span,
            norm_cfg=norm_cfg,
        )
        self.out_channels, self.stride = value_depth, stride
        self.height_axis = AxialAttention(in_channels, **shared)
        self.width_axis = AxialAttention(value_depth, **shared)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, _, width = x.shape
        columns = (
            x.permute(0, 3, 2, 1).contiguous().flatten(0, 1).transpose(1, 2)
        )  # (BW, C, H), channels-last
        columns = self.height_axis(columns)[..., :: self.stride].unflatten(
            0, (batch, width)
        )  # (B, W, C, H')
        height = columns.shape[-1]
        rows = (
            columns.permute(0, 3, 1, 2).contiguous().flatten(0, 1).transpose(1, 2)
        )  # (BH', C, W), channels-last
        rows = self.width_axis(rows)[..., :: self.stride].unflatten(
            0, (batch, height)
        )  # (B, H', C, W')
        return rows.transpose(1, 2)
