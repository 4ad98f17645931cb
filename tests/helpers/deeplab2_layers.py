"""The layers of deeplab2's networks as TensorFlow computes them, slowly, channels last, in float64.

There are no modules: a layer asks ``variables`` for each tensor by the name and with the shape that
TensorFlow's checkpoint has, so that one run of a network makes the checkpoint.
"""

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from weights_by_rule import by_rule

HEADS, SPAN = 8, 255


class Variables(dict):
    """Arrays by name, made when first asked for.

    For an image on torch's device 'meta' they are shapes alone: arrays of one number, repeated.
    """

    def __init__(self, dtype: torch.dtype = torch.float64, device: str = 'cpu') -> None:
        super().__init__()
        self.dtype, self.device = dtype, device

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        if self.device == 'meta':
            self[name] = np.broadcast_to(np.float32(0), shape)
            return torch.empty(shape, dtype=self.dtype, device='meta')
        if name not in self:
            leaf = name.rsplit('/', 1)[-1]
            fan_in = dict(
                kernel=prod(shape[:-1]),
                qkv_kernel=shape[0],
                depthwise_kernel=prod(shape[:2]),
                memory_feature=1,
                cluster_centers=1,
            ).get(leaf, 0)
            value = by_rule(
                name,
                shape,
                fan_in=fan_in,
                positive=leaf in ('gamma', 'moving_variance', 'layer_scale'),
            )
            self[name] = value.numpy().astype(np.float32)
        assert self[name].shape == shape, name
        return torch.from_numpy(self[name]).to(self.dtype)


class PixelLayers:
    """Convolutions, residual blocks and axial attention on planes (B, H, W, C).

    ``act`` is the activation of the layers that do not name one. ``expansions`` are those of an
    axial block before its attention, of its keys and of its values.
    """

    def __init__(self, variables: Variables, act, expansions=(2, 1, 2)) -> None:
        self.v, self.act, self.expansions = variables, act, expansions

    def norm(self, name, x, axes=(-1,)):
        axes = [axis % x.dim() for axis in axes]
        shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.dim())]
        stored = shape if len(axes) > 1 else [x.shape[axes[0]]]
        gamma, beta, mean, variance = (
            self.v(f'{name}/{leaf}', *stored).reshape(shape)
            for leaf in ('gamma', 'beta', 'moving_mean', 'moving_variance')
        )
        return gamma * (x - mean) / torch.sqrt(variance + 1e-3) + beta

    def layer_norm(self, name, x):
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).square().mean(-1, keepdim=True)
        gamma, beta = (self.v(f'{name}/{leaf}', x.shape[-1]) for leaf in ('gamma', 'beta'))
        return gamma * (x - mean) / torch.sqrt(variance + 1e-6) + beta

    def convolve(self, kernel, x, stride=1, dilation=1, groups=1):
        pad = dilation * (kernel.shape[0] - 1) // 2
        x = F.pad(x.permute(0, 3, 1, 2), (pad,) * 4)
        return F.conv2d(
            x, kernel.permute(3, 2, 0, 1), stride=stride, dilation=dilation, groups=groups
        ).permute(0, 2, 3, 1)

    def conv2d(self, name, x, channels, size=1, stride=1, dilation=1, act=True):
        x = self.convolve(
            self.v(f'{name}/_conv/kernel', size, size, x.shape[-1], channels), x, stride, dilation
        )
        x = self.norm(f'{name}/_batch_norm', x)
        return self.act(x) if act else x

    def separable(self, name, x, channels):
        kernel = self.v(f'{name}/_depthwise/_depthwise_conv/depthwise_kernel', 5, 5, x.shape[-1], 1)
        x = self.convolve(kernel.permute(0, 1, 3, 2), x, groups=x.shape[-1])
        x = self.act(self.norm(f'{name}/_depthwise/_batch_norm', x))
        return self.conv2d(f'{name}/_pointwise', x, channels)

    def conv1d(self, name, x, channels, act=True, norm=True):
        y = x @ self.v(f'{name}/_conv/kernel', 1, x.shape[-1], channels)[0]
        if not norm:
            return y + self.v(f'{name}/_conv/bias', channels)
        y = self.norm(f'{name}/_batch_norm', y)
        return self.act(y) if act else y

    def positions(self, name, length, depth):
        table = self.v(f'{name}/embeddings', 2 * SPAN - 1, depth)
        index = torch.arange(length)
        return table[index[None, :] - index[:, None] + SPAN - 1]  # (query, memory, depth)

    def axial(self, name, x, key_depth, value_depth):
        batch, length, channels = x.shape
        x = self.norm(
            f'{name}/_batch_norm_qkv',
            x @ self.v(f'{name}/qkv_kernel', channels, 2 * key_depth + value_depth),
        )
        q, k, v = x.split([key_depth, key_depth, value_depth], dim=-1)
        q, k, v = (part.reshape(batch, length, HEADS, -1) for part in (q, k, v))
        depth = key_depth // HEADS
        similarity = torch.stack(
            [
                torch.einsum('blhd,bmhd->bhlm', q, k),
                torch.einsum(
                    'blhd,lmd->bhlm', q, self.positions(f'{name}/_query_rpe', length, depth)
                ),
                torch.einsum(
                    'bmhd,lmd->bhlm', k, self.positions(f'{name}/_key_rpe', length, depth)
                ),
            ]
        )
        weights = self.norm(f'{name}/_batch_norm_similarity', similarity, (0, 2)).sum(0).softmax(-1)
        retrieved = torch.stack(
            [
                torch.einsum('bhlm,bmhd->bhld', weights, v),
                torch.einsum(
                    'bhlm,lmd->bhld',
                    weights,
                    self.positions(f'{name}/_value_rpe', length, value_depth // HEADS),
                ),
            ]
        )
        retrieved = self.norm(f'{name}/_batch_norm_retrieved_output', retrieved, (0, 2, 4)).sum(0)
        return retrieved.permute(0, 2, 1, 3).reshape(batch, length, value_depth)

    def axial2d(self, name, x, filters, stride):
        depths = [expansion * filters for expansion in self.expansions[1:]]
        batch, height, width, channels = x.shape
        x = x.permute(0, 2, 1, 3).reshape(batch * width, height, channels)
        x = self.axial(f'{name}/_height_axis', x, *depths)
        x = x.reshape(batch, width, height, -1).permute(0, 2, 1, 3)[:, ::stride]
        height = x.shape[1]
        x = self.axial(f'{name}/_width_axis', x.reshape(batch * height, width, -1), *depths)
        return x.reshape(batch, height, width, -1)[:, :, ::stride]

    def block(self, name, x, filters, attention, stride=1, dilation=1, basic=False):
        x = self.act(x)
        if x.shape[-1] != 4 * filters:
            shortcut = self.conv2d(f'{name}/_shortcut', x, 4 * filters, stride=stride, act=False)
        else:
            shortcut = x[:, ::stride, ::stride]
        if basic:
            x = self.conv2d(f'{name}/_conv1_bn_act', x, 4 * filters, 3, stride)
            return shortcut + self.conv2d(f'{name}/_conv2_bn', x, 4 * filters, 3, act=False)
        x = self.conv2d(
            f'{name}/_conv1_bn_act', x, self.expansions[0] * filters if attention else filters
        )
        if attention:
            x = self.act(self.axial2d(f'{name}/_attention', x, filters, stride))
        else:
            x = self.conv2d(f'{name}/_conv2_bn_act', x, filters, 3, stride, dilation)
        return shortcut + self.conv2d(f'{name}/_conv3_bn', x, 4 * filters, act=False)

    def fuse(self, name, planes, channels):
        size, total = planes[-1].shape[1:3], 0
        for number, plane in enumerate(planes, start=1):
            halved = tuple((side + 1) // 2 for side in plane.shape[1:3]) == tuple(size)
            if plane.shape[-1] != channels and halved:
                plane = self.conv2d(
                    f'{name}/_strided_conv_bn{number}',
                    self.act(plane),
                    channels,
                    stride=2,
                    act=False,
                )
            elif plane.shape[-1] != channels:
                plane = self.conv2d(
                    f'{name}/_resized_conv_bn{number}', self.act(plane), channels, act=False
                )
            total = total + resize(plane, size)
        return total


def resize(x, size):
    return F.interpolate(
        x.permute(0, 3, 1, 2), size=tuple(size), mode='bilinear', align_corners=True
    ).permute(0, 2, 3, 1)
