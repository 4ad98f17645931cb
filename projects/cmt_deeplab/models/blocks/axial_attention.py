"""Position-sensitive axial attention: along one axis of a feature map, then along the other."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32

from .conv_norm import ConvNorm
from .norm import DEFAULT_NORM, build_norm, normalize

MAX_SPAN = 255  # as in deeplab2: 509 relative positions, whatever the size of the feature map


class RelativePositions(nn.Module):
    """Embeddings of the distances from a query to a memory position, for all heads together.

    There is one vector of ``depth`` for each distance -(span - 1) .. span - 1; greater distances
    use the embedding of the span.

    ``forward(L)`` gives, for every query l and every memory position counted from the END,
    m' = L - 1 - m, the embedding of m - l, as (L, depth, L) = [l, :, m']. In that order it
    depends on l + m' alone, so the result is a view of the 2L - 1 rows in use with overlapping
    strides: no L x L x depth values are stored.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.span = MAX_SPAN
        self.weight = nn.Parameter(torch.empty(2 * self.span - 1, depth))
        nn.init.trunc_normal_(self.weight, std=1.0, a=-2.0, b=2.0)

    def forward(self, length: int) -> Tensor:
        if torch.compiler.is_exporting():  # with any length, so positions are numbers in the graph
            position = torch.arange(length, device=self.weight.device)
            distance = (length - 1 - position) - position[:, None]  # m - l at [l, m']
            row = distance.clamp(1 - self.span, self.span - 1) + self.span - 1
            return self.weight[row].transpose(1, 2)
        beyond = max(length - self.span, 0)
        first = self.span - length + beyond
        rows = self.weight[first : len(self.weight) - first].flip(0)  # distance L - 1 first
        if beyond:
            rows = torch.cat([rows[:1].expand(beyond, -1), rows, rows[-1:].expand(beyond, -1)])
        return rows.unfold(0, length, 1)


class AxialAttention(nn.Module):
    """Multi-head self-attention of sequences (B, in_channels, L) -> (B, value_depth, L).

    Queries, keys and values have relative positions e:
    ``weights = softmax_m( BN(q_l . k_m) + BN(q_l . e^q_{m-l}) + BN(k_m . e^k_{m-l}) )`` and
    ``out_l = BN(sum_m weights v_m) + BN(sum_m weights e^v_{m-l})``.
    The norms of the three similarities, of ``num_heads`` channels each, are one norm of three
    times as many and take the place of the factor 1 / sqrt(d); those of the two retrieved terms
    are one norm of 2 value_depth channels. q, k and v are normalized too. The similarities
    are added up in fp32 and rounded once, before the softmax.

    Source: Axial-DeepLab (ECCV 2020), deeplab2 (``layers/axial_layers.py``). The number of
    multiply-accumulates is the source's: each positional term is one batched product over
    positions with a view of the embeddings (:class:`RelativePositions`).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        key_depth: int,
        value_depth: int,
        num_heads: int = 8,
        norm_cfg: dict | None = DEFAULT_NORM,
    ) -> None:
        super().__init__()
        if key_depth % num_heads or value_depth % num_heads:
            raise UserError(
                f'Axial attention has keys of {key_depth} and values of {value_depth} channels, '
                f'which must be multiples of its {num_heads} heads: make the filters of axial '
                f'blocks multiples of {num_heads}.'
            )
        self.key_depth, self.value_depth, self.num_heads = key_depth, value_depth, num_heads
        self.qkv = ConvNorm(
            in_channels,
            2 * key_depth + value_depth,
            norm_cfg=norm_cfg,
            weight_std=in_channels**-0.5,
        )
        self.query_positions = RelativePositions(key_depth // num_heads)
        self.key_positions = RelativePositions(key_depth // num_heads)
        self.value_positions = RelativePositions(value_depth // num_heads)
        self.similarity_norm = build_norm(norm_cfg, 3 * num_heads)
        self.retrieved_norm = build_norm(norm_cfg, 2 * value_depth)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self._project(x)
        weights = self._weights(self._normalize(self._similarities(queries, keys)), values.dtype)
        retrieved = normalize(self.retrieved_norm, self._retrieve(weights, values))
        content, positions = retrieved.squeeze(2).split(self.value_depth, dim=1)
        return content + positions

    # These are separate functions so that what they leave behind is freed before the next norm
    # runs. Inside, memory is channels-last, (B, L, C): every copy, forward and backward, moves
    # whole rows. Heads come before the batch, so that the three similarities are three blocks of
    # one tensor.

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (L, hB, d), keys (L, hB, d) and values (L, hB, dv).

        Keys and values are in the order m' of :class:`RelativePositions`.
        """
        qkv = self.qkv(x.unsqueeze(2)).squeeze(2).transpose(1, 2)  # (B, L, C)
        queries, keys, values = (
            part.unflatten(2, (self.num_heads, -1)).permute(1, 2, 0, 3)  # (L, h, B, d)
            for part in qkv.split([self.key_depth, self.key_depth, self.value_depth], dim=2)
        )
        backwards = torch.arange(x.shape[2] - 1, -1, -1, device=x.device)
        keys, values = keys.index_select(0, backwards), values.index_select(0, backwards)
        return queries.flatten(1, 2), keys.flatten(1, 2), values.flatten(1, 2)

    def _similarities(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(3, hB, L, L): the content and query terms [., l, m'], the key term [., m', l].

        The key term stays as its product gives it, since the norm does not depend on the order.
        """
        length = queries.shape[0]
        content = torch.bmm(queries.transpose(0, 1), keys.permute(1, 2, 0))
        from_query = torch.bmm(queries, self.query_positions(length)).transpose(0, 1)
        from_key = torch.bmm(keys, self.key_positions(length)).transpose(0, 1)
        return torch.stack([content, from_query, from_key])

    def _normalize(self, similarities: Tensor) -> Tensor:
        """The norm of 3 h channels over (3, hB, L, L)."""
        by_channel = similarities.unflatten(1, (self.num_heads, -1)).flatten(0, 1)  # (3h, B, L, L)
        if isinstance(self.similarity_norm, _BatchNorm):
            # The batch shares its statistics, so it may count as positions: that saves a copy.
            normed = normalize(self.similarity_norm, by_channel.flatten(1, 2).unsqueeze(0))
        else:
            normed = normalize(self.similarity_norm, by_channel.transpose(0, 1)).transpose(0, 1)
        return normed.reshape(similarities.shape)

    def _weights(self, similarities: Tensor, dtype: torch.dtype) -> Tensor:
        """(hB, L, L) = [., l, m'], summing to 1 over m'."""
        content, from_query, from_key = similarities.unbind()
        total = (at_least_fp32(content) + from_query).add_(from_key.transpose(1, 2))
        return total.softmax(-1, dtype=dtype)  # of which the gradient keeps the result

    def _retrieve(self, weights: Tensor, values: Tensor) -> Tensor:
        """(B, 2 value_depth, 1, L), channels-last: the retrieved values, then the positions."""
        heads, length = self.num_heads, weights.shape[-1]
        content = torch.bmm(weights, values.transpose(0, 1))  # (hB, L, dv)
        positions = torch.bmm(
            weights.transpose(0, 1), self.value_positions(length).transpose(1, 2)
        )  # (L, hB, dv)
        content = content.unflatten(0, (heads, -1)).permute(1, 2, 0, 3)  # (B, L, h, dv)
        positions = positions.unflatten(1, (heads, -1)).permute(2, 0, 1, 3)
        return torch.stack([content, positions], dim=2).flatten(2).transpose(1, 2).unsqueeze(2)


class AxialAttention2D(nn.Module):
    """Attention along the height axis, then along the width axis.

    (B, in_channels, H, W) -> (B, value_depth, H', W'). With ``stride`` s, each axis is subsampled
    (``[::s]``) after its own attention, as in deeplab2: every position is attended to, and an odd
    size n gives (n + 1) / 2 with its corners in place. Further arguments are those of
    :class:`AxialAttention`.
    """

    def __init__(
        self, in_channels: int, *, value_depth: int, stride: int = 1, **attention: Any
    ) -> None:
        super().__init__()
        self.stride = stride
        attention.update(value_depth=value_depth)
        self.height_axis = AxialAttention(in_channels, **attention)
        self.width_axis = AxialAttention(value_depth, **attention)

    def forward(self, x: Tensor) -> Tensor:
        columns = self._attend(self.height_axis, x.permute(0, 3, 2, 1))  # (B, W, C, H')
        rows = self._attend(self.width_axis, columns.permute(0, 3, 1, 2))  # (B, H', C, W')
        return rows.transpose(1, 2)

    def _attend(self, attention: nn.Module, lines: Tensor) -> Tensor:
        """Lines (B, M, L, C), M of them per image, to (B, M, C', L')."""
        batch, number = lines.shape[:2]
        sequences = lines.contiguous().flatten(0, 1).transpose(1, 2)  # (BM, C, L), channels-last
        return attention(sequences)[..., :: self.stride].unflatten(0, (batch, number))
