"""MaX-DeepLab, kMaX-DeepLab and their backbones as deeplab2 computes them, slowly, channels last, in float64.

Written from the description of google-research/deeplab2 for the tests of the converters. There are no modules: a network is a function that
asks ``variables`` for each tensor by the name and with the shape that TensorFlow's checkpoint has, so that one run makes the checkpoint.
"""

from math import log, prod

import numpy as np
import torch
import torch.nn.functional as F
from weights_by_rule import by_rule

HEADS, SPAN = 8, 255


class Variables(dict):
    """Arrays by name, made when first asked for; for an image on torch's device 'meta' only shapes, as arrays of one number."""

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


class Net:
    """The layers; ``act`` is the activation of those that do not name one, ``expansions`` are those of an axial block before its attention,
    of its keys and of its values."""

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

    def heads(self, x):
        return x.reshape(*x.shape[:2], HEADS, -1)

    def attend(self, name, query, key, value):
        similarity = self.norm(
            f'{name}/_batch_norm_similarity', torch.einsum('blhd,bmhd->bhlm', query, key), (1,)
        )
        retrieved = torch.einsum('bhlm,bmhd->bhld', similarity.softmax(-1), value)
        retrieved = self.act(self.norm(f'{name}/_batch_norm_retrieved_value', retrieved, (1, 3)))
        return retrieved.permute(0, 2, 1, 3).flatten(2)

    def memory_attention_and_ffn(self, name, memory, update, attended):
        memory = self.act(
            memory
            + update
            + self.conv1d(f'{name}/_memory_conv3_bn', attended, memory.shape[-1], act=False)
        )
        hidden = self.conv1d(f'{name}/_memory_ffn_conv1_bn_act', memory, 2048)
        return self.act(
            memory
            + self.conv1d(f'{name}/_memory_ffn_conv2_bn', hidden, memory.shape[-1], act=False)
        )

    def dual_path(self, name, pixels, memory, width=128):
        shape, depths = pixels.shape, [width, width, 2 * width]
        pixels = pixels.flatten(1, 2)
        own_memory = self.conv1d(f'{name}/_memory_conv1_bn_act', memory, 2 * width)
        own_pixels = self.conv1d(f'{name}/_pixel_conv1_bn_act', self.act(pixels), 2 * width)
        mq, mk, mv = map(
            self.heads,
            self.conv1d(f'{name}/_memory_qkv_conv_bn', own_memory, sum(depths), act=False).split(
                depths, -1
            ),
        )
        pq, pk, pv = map(
            self.heads,
            self.conv1d(f'{name}/_pixel_qkv_conv_bn', own_pixels, sum(depths), act=False).split(
                depths, -1
            ),
        )
        attended = self.attend(
            f'{name}/_memory_attention', mq, torch.cat([pk, mk], 1), torch.cat([pv, mv], 1)
        )
        memory = self.memory_attention_and_ffn(name, memory, 0, attended)
        fed = self.conv1d(
            f'{name}/_pixel_conv3_bn',
            self.attend(f'{name}/_pixel_attention', pq, mk, mv),
            shape[-1],
            act=False,
        )
        return (pixels + fed).reshape(shape), memory

    def kmeans(self, name, pixels, memory):
        own_memory = self.conv1d(f'{name}/_memory_conv1_bn_act', memory, 256)
        own_pixels = self.conv1d(f'{name}/_pixel_conv1_bn_act', self.act(pixels).flatten(1, 2), 256)
        mq, mk, mv = map(
            self.heads,
            self.conv1d(f'{name}/_memory_qkv_conv_bn', own_memory, 512, act=False).split(
                [128, 128, 256], -1
            ),
        )
        value = self.conv1d(f'{name}/_pixel_v_conv_bn', own_pixels, 256, act=False)
        plane = own_pixels.reshape(*pixels.shape[:3], 256)
        masks, _ = self.predict(
            f'{name}/_auxiliary_clustering_predictor/_', plane, own_memory, own_memory
        )
        assigned = F.one_hot(masks.flatten(1, 2).argmax(-1), memory.shape[1]).to(value.dtype)
        update = self.norm(
            f'{name}/_kmeans_memory_batch_norm_retrieved_value',
            torch.einsum('blm,bld->bmd', assigned, value),
        )
        update = self.conv1d(f'{name}/_kmeans_memory_conv3_bn', update, 256, act=False)
        return self.memory_attention_and_ffn(
            name, memory, update, self.attend(f'{name}/_memory_attention', mq, mk, mv)
        )

    def predict(self, prefix, pixels, class_feature, mask_feature, classes=133):
        x = self.separable(f'{prefix}pixel_space_head/conv_block/_conv1_bn_act', pixels, 256)
        x = self.convolve(self.v(f'{prefix}pixel_space_head/final_conv/kernel', 1, 1, 256, 128), x)
        x = self.norm(
            f'{prefix}pixel_space_feature_batch_norm',
            x + self.v(f'{prefix}pixel_space_head/final_conv/bias', 128),
        )
        x = x / x.square().sum(-1, keepdim=True).sqrt()
        logits = self.conv1d(
            f'{prefix}transformer_class_head', class_feature, classes + 1, norm=False
        )
        bias = torch.zeros(classes + 1, dtype=logits.dtype, device=logits.device)
        bias[-1] = log(classes * 0.9 / 0.1)
        kernels = self.conv1d(f'{prefix}transformer_mask_head', mask_feature, 128, act=False)
        masks = torch.einsum('bhwd,bid->bhwi', x, kernels)
        return self.norm(f'{prefix}pixel_space_mask_batch_norm', masks[..., None])[
            ..., 0
        ], logits + bias  # (B, H, W, N), (B, N, C+1)

    def semantic(self, x, skips, classes=133):
        planes = [self.conv2d('semantic_decoder/_aspp/_conv_bn_act', x, 256)]
        for i, rate in enumerate((6, 12, 18), start=1):
            planes.append(
                self.conv2d(
                    f'semantic_decoder/_aspp/_aspp_conv{i}/_conv_bn_act', x, 256, 3, dilation=rate
                )
            )
        pooled = self.conv2d(
            'semantic_decoder/_aspp/_aspp_pool/_conv_bn_act', x.mean((1, 2), keepdim=True), 256
        )
        planes.append(pooled.expand(-1, *x.shape[1:3], -1))
        x = self.conv2d('semantic_decoder/_aspp/_proj_conv_bn_act', torch.cat(planes, -1), 256)
        for i, (skip, channels) in enumerate(zip(skips, (64, 32)), start=1):
            skip = self.conv2d(f'semantic_decoder/_low_level_conv{i}', skip, channels)
            x = torch.cat([resize(x, skip.shape[1:3]), skip], -1)
            x = self.separable(f'semantic_decoder/_fusion_conv{i}/_conv1_bn_act', x, 256)
        return self.semantic_logits(x, classes)

    def semantic_logits(self, x, classes=133):
        x = self.separable('semantic_head_without_last_layer/_conv1_bn_act', x, 256)
        kernel = self.v('semantic_last_layer/kernel', 1, 1, 256, classes + 1)
        return self.convolve(kernel, x) + self.v('semantic_last_layer/bias', classes + 1)


def resize(x, size):
    return F.interpolate(
        x.permute(0, 3, 1, 2), size=tuple(size), mode='bilinear', align_corners=True
    ).permute(0, 2, 3, 1)


def encoder(net: Net, image, *, inception: bool, axial: bool, output_stride: int, memory=None):
    """Features of stages 2 to 5 before their activation, and the memory after stage 5's dual-path layers if it has one."""
    if inception:
        x = net.conv2d('encoder/_stem/_conv1_bn_act', image, 64, 3, 2)
        x = net.conv2d(
            'encoder/_stem/_conv3_bn',
            net.conv2d('encoder/_stem/_conv2_bn_act', x, 64, 3),
            128,
            3,
            act=False,
        )
    else:
        x = net.conv2d('encoder/_stem', image, 64, 7, 2, act=False)
    features, stride = [], 2
    for stage, count in zip((2, 3, 4, 5), (3, 4, 6, 3)):
        for number in range(1, count + 1):
            name, first = f'encoder/_stage{stage}/_block{number}', number == 1
            attention = axial and (stage == 5 or stage == 4 and not first)
            x = net.block(
                name, x, 2 ** (stage + 4), attention, 2 if first and stride < output_stride else 1
            )
            if memory is not None and stage == 5:
                x, memory = net.dual_path(f'{name}_transformer', x, memory)
        stride *= 2
        features.append(x)
    return features, memory


def max_deeplab_s(variables: Variables, image):
    """Mask logits (B, H, W, N), class logits (B, N, C+1), semantic logits (B, H, W, C+1) and the feature that the latter come from."""
    net = Net(variables, F.relu)
    memory = variables('encoder/memory_feature', 1, 128, 256).expand(len(image), -1, -1)
    (c2, c3, _, c5), memory = encoder(
        net, image, inception=True, axial=True, output_stride=16, memory=memory
    )
    x = net.block('encoder/_stage5_extra/_block1', c5, 512, True)
    x, memory = net.dual_path('encoder/_stage5_extra/_block1_transformer', x, memory)
    x = net.block(
        'encoder/_decoder_stage1_extra/_block1',
        net.fuse('encoder/_decoder_stage1_extra_resized_fuse', [x, c3], 512),
        128,
        False,
    )
    x = net.block(
        'encoder/_decoder_stage2_extra/_block1',
        net.fuse('encoder/_decoder_stage2_extra_resized_fuse', [x, c2], 256),
        64,
        False,
    )
    masks, classes = net.predict(
        '',
        F.relu(x),
        net.conv1d('encoder/_class_feature_extra', memory, 256),
        net.conv1d('encoder/_mask_feature_extra', memory, 256),
    )
    return masks, classes, net.semantic(F.relu(c5), [F.relu(c3), F.relu(c2)]), c5


def max_deeplab_l(variables: Variables, image):
    """As :func:`max_deeplab_s`: a wide ResNet, blocks and memory layers of twice the width, an hourglass in the encoder, two behind it."""
    net = Net(variables, F.relu, (4, 2, 4))
    memory = variables('encoder/memory_feature', 1, 128, 512).expand(len(image), -1, -1)
    x, kept, semantic = net.conv2d('encoder/_stem', image, 64, 3, 2, act=False), {}, None
    for stage, count in zip((1, 2, 3, 4, 5), (3, 3, 6, 3, 3)):
        for number in range(1, count + 1):
            name, first = f'encoder/_stage{stage}/_block{number}', number == 1
            basic = stage < 4 or stage == 4 and first
            x = net.block(
                name,
                x,
                2 ** (stage + 4),
                not basic,
                2 if first and 1 < stage < 5 else 1,
                basic=basic,
            )
            if stage > 3:
                x, memory = net.dual_path(
                    f'{name}_transformer', x, memory, 128 if stage == 4 else 256
                )
        kept[min(2**stage, 16)] = [x]
    for stage, (stride, groups) in enumerate(
        zip((8, 4, 8, 16, 8, 4, 8, 16, 8, 4), ((1,),) * 3 + ((1, 3),) + ((3,),) * 6), start=1
    ):
        extra = '_extra' if stage > 4 else ''
        filters = 512 if stride == 16 else 16 * stride
        x = net.fuse(
            f'encoder/_decoder_stage{stage}{extra}_resized_fuse',
            [x, *kept[stride][-2:]],
            4 * filters,
        )
        for suffix, count in zip((extra, '_extra'), groups):
            for number in range(1, count + 1):
                name = f'encoder/_decoder_stage{stage}{suffix}/_block{number}'
                x = net.block(name, x, filters, stride == 16, basic=stride < 16)
                if stride == 16:
                    x, memory = net.dual_path(f'{name}_transformer', x, memory, 256)
        kept[stride].append(x)
        if stage == 6:
            semantic = x
    masks, classes = net.predict(
        '',
        F.relu(x),
        net.conv1d('encoder/_class_feature_extra', memory, 512),
        net.conv1d('encoder/_mask_feature_extra', memory, 512),
    )
    return masks, classes, net.semantic_logits(F.relu(semantic)), semantic


def kmax_deeplab(variables: Variables, image, *, backbone: str):
    """As :func:`max_deeplab_s`; ``backbone`` 'r50', 'axial-r50' or 'convnext-t'."""
    if backbone == 'convnext-t':
        net, act = Net(variables, F.gelu), F.gelu
        features = convnext(net, image, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768))
    else:
        act = F.gelu if backbone == 'axial-r50' else F.relu
        axial = backbone == 'axial-r50'
        features, _ = encoder(
            Net(variables, act), image, inception=axial, axial=axial, output_stride=32
        )
    net = Net(variables, F.gelu)
    memory = variables('transformer_decoder/cluster_centers', 1, 128, 256).expand(
        len(image), -1, -1
    )
    x, layer = None, 0
    for i, (skip, filters, count) in enumerate(
        zip(reversed(features), (512, 256, 128, 64), (1, 5, 1, 1))
    ):
        skip = net.layer_norm(f'pixel_decoder/_backbone_norms/{i}', skip)
        x = (
            skip
            if i == 0
            else net.fuse(f'pixel_decoder/_skip_connections/{i - 1}', [x, skip], filters)
        )
        for number in range(1, count + 1):
            x = net.block(
                f'pixel_decoder/_stages/{i}/_block{number}',
                x,
                filters,
                i < 2,
                dilation=1 if i < 2 else 2,
            )
        for _ in range(2 if i < 3 else 0):
            memory = net.kmeans(
                f'transformer_decoder/_kmax_decoder/{layer}/_block1_transformer', x, memory
            )
            layer += 1
    masks, classes = net.predict(
        '',
        x,
        net.conv1d('transformer_decoder/_class_embedding_projection', memory, 256),
        net.conv1d('transformer_decoder/_mask_embedding_projection', memory, 256),
    )
    return (
        masks,
        classes,
        net.semantic(features[3], [act(features[1]), act(features[0])]),
        features[3],
    )


def convnext(net: Net, image, *, depths, widths):
    x, features = image, []
    for stage, (depth, width) in enumerate(zip(depths, widths)):
        name = f'encoder/downsample_layers/{stage}/layer_with_weights-'
        size, pad = (4, (1, 2)) if stage == 0 else (2, (0, 1))
        x = F.pad(x, (0, 0, *pad, *pad))
        if stage > 0:
            x = net.layer_norm(f'{name}0', x)
        conv = f'{name}{int(stage > 0)}'
        kernel = net.v(f'{conv}/kernel', size, size, x.shape[-1], width).permute(3, 2, 0, 1)
        x = F.conv2d(
            x.permute(0, 3, 1, 2), kernel, net.v(f'{conv}/bias', width), stride=size
        ).permute(0, 2, 3, 1)
        if stage == 0:
            x = net.layer_norm(f'{name}1', x)
        for block in range(depth):
            name = f'encoder/stages/{stage}/layer_with_weights-{block}'
            y = net.convolve(
                net.v(f'{name}/depthwise_conv/kernel', 7, 7, 1, width), x, groups=width
            )
            y = net.layer_norm(f'{name}/norm', y + net.v(f'{name}/depthwise_conv/bias', width))
            y = F.gelu(
                y @ net.v(f'{name}/pointwise_conv1/kernel', width, 4 * width)
                + net.v(f'{name}/pointwise_conv1/bias', 4 * width)
            )
            y = y @ net.v(f'{name}/pointwise_conv2/kernel', 4 * width, width) + net.v(
                f'{name}/pointwise_conv2/bias', width
            )
            x = x + net.v(f'{name}/layer_scale', 1, 1, 1, width) * y
        features.append(x)
    return features
