"""The pixel decoder of bytedance/kmax-deeplab, slowly: attributes give its checkpoints' names."""

import torch
import torch.nn.functional as F
from kmax_pytorch_backbones import ChannelNorm, ConvBN, Norm
from torch import nn

SPAN = 255


class RelativePositions(nn.Module):
    def __init__(self, depth) -> None:
        super().__init__()
        self._embeddings = nn.Embedding(2 * SPAN - 1, depth)

    def forward(self, length):
        index = torch.arange(length)
        return self._embeddings.weight[
            index[None, :] - index[:, None] + SPAN - 1
        ]  # (query, memory, depth)


class AxialAttention(nn.Module):
    heads = 8

    def __init__(self, inputs, key_depth, value_depth) -> None:
        super().__init__()
        self.depths = [key_depth, key_depth, value_depth]
        self.qkv_transform = ConvBN(inputs, sum(self.depths), dims=1, norm=False)
        self._query_rpe, self._key_rpe = (
            RelativePositions(key_depth // 8),
            RelativePositions(key_depth // 8),
        )
        self._value_rpe = RelativePositions(value_depth // 8)
        self._batch_norm_qkv = Norm(sum(self.depths))
        self._batch_norm_similarity = Norm(3 * self.heads)
        self._batch_norm_retrieved_output = Norm(2 * value_depth)

    def forward(self, x):
        length = x.shape[2]
        q, k, v = (
            part.unflatten(1, (self.heads, -1))
            for part in self._batch_norm_qkv(self.qkv_transform(x)).split(self.depths, 1)
        )
        similarity = torch.cat(
            [
                torch.einsum('bhdl,bhdm->bhlm', q, k),
                torch.einsum('bhdl,lmd->bhlm', q, self._query_rpe(length)),
                torch.einsum('bhdm,lmd->bhlm', k, self._key_rpe(length)),
            ],
            1,
        )
        weights = (
            self._batch_norm_similarity(similarity).unflatten(1, (3, self.heads)).sum(1).softmax(-1)
        )
        retrieved = torch.cat(
            [
                torch.einsum('bhlm,bhdm->bhdl', weights, v).flatten(1, 2),
                torch.einsum('bhlm,lmd->bhdl', weights, self._value_rpe(length)).flatten(1, 2),
            ],
            1,
        )
        return self._batch_norm_retrieved_output(retrieved).unflatten(1, (2, -1)).sum(1)


class AxialAttention2D(nn.Module):
    def __init__(self, inputs, filters) -> None:
        super().__init__()
        self._height_axis = AxialAttention(inputs, filters, 2 * filters)
        self._width_axis = AxialAttention(2 * filters, filters, 2 * filters)

    def forward(self, x):
        columns = torch.stack([self._height_axis(column) for column in x.unbind(3)], 3)
        return torch.stack([self._width_axis(row) for row in columns.unbind(2)], 2)


class Block(nn.Module):
    def __init__(self, inputs, filters, axial) -> None:
        super().__init__()
        self.axial, hidden = axial, 2 * filters if axial else filters
        self._conv1_bn_act = ConvBN(inputs, hidden, act=F.gelu)
        if axial:
            self._attention = AxialAttention2D(hidden, filters)
        else:
            self._conv2_bn_act = ConvBN(filters, filters, 3, act=F.gelu)
        self._conv3_bn = ConvBN(hidden, 4 * filters)
        self._shortcut = ConvBN(inputs, 4 * filters) if inputs != 4 * filters else None

    def forward(self, x):
        x = F.gelu(x)
        y = self._conv1_bn_act(x)
        y = F.gelu(self._attention(y)) if self.axial else self._conv2_bn_act(y)
        return self._conv3_bn(y) + (x if self._shortcut is None else self._shortcut(x))


class BlockGroup(nn.Module):
    def __init__(self, inputs, filters, count, axial) -> None:
        super().__init__()
        self._blocks = nn.ModuleList(
            Block(inputs if i == 0 else 4 * filters, filters, axial) for i in range(count)
        )

    def forward(self, x):
        for block in self._blocks:
            x = block(x)
        return x


class ResizedFuse(nn.Module):
    """A feature that already has the width of the sum is neither activated nor projected."""

    def __init__(self, low, high, outputs) -> None:
        super().__init__()
        self._conv_bn_low = ConvBN(low, outputs)
        self._conv_bn_high = ConvBN(high, outputs) if high != outputs else None

    def forward(self, low, high):
        low, size = self._conv_bn_low(F.gelu(low)), high.shape[2:]
        low = F.interpolate(low, size=size, mode='bilinear', align_corners=True)
        return low + (high if self._conv_bn_high is None else self._conv_bn_high(F.gelu(high)))


class PixelDecoder(nn.Module):
    """``channels`` of the features, coarse to fine; a fifth one adds a stage."""

    def __init__(self, channels) -> None:
        super().__init__()
        filters, counts = (512, 256, 128, 64, 32)[: len(channels)], (1, 5, 1, 1, 1)
        self._in_norms = nn.ModuleList(ChannelNorm(c) for c in channels)
        self._stages = nn.ModuleList(
            BlockGroup(channels[0] if i == 0 else f, f, n, i < 2)
            for i, (f, n) in enumerate(zip(filters, counts))
        )
        self._resized_fuses = nn.ModuleList(
            ResizedFuse(4 * filters[i - 1], channels[i], filters[i])
            for i in range(1, len(channels))
        )

    def forward(self, features):
        skips = [norm(feature) for norm, feature in zip(self._in_norms, features)]
        planes = [self._stages[0](skips[0])]
        for fuse, stage, skip in zip(self._resized_fuses, self._stages[1:], skips[1:]):
            planes.append(stage(fuse(planes[-1], skip)))
        return planes
