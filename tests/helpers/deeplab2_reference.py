"""MaX-DeepLab, kMaX-DeepLab and their backbones as deeplab2 computes them, for tests of converters.

Written from the description of google-research/deeplab2. A network is a function that asks
``variables`` for each tensor by its name in TensorFlow's checkpoint.
"""

import torch.nn.functional as F
from deeplab2_heads import Net
from deeplab2_layers import Variables


def encoder(net: Net, image, *, inception: bool, axial: bool, output_stride: int, memory=None):
    """Features of the stem and of stages 2 to 5 before their activation, and the memory after the
    dual-path layers of stage 5 if it has one.
    """
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
    features, stride = [x], 2
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
    """Mask logits (B, H, W, N), class logits (B, N, C+1), semantic logits (B, H, W, C+1) and the
    feature that the latter come from.
    """
    net = Net(variables, F.relu)
    memory = variables('encoder/memory_feature', 1, 128, 256).expand(len(image), -1, -1)
    (_, c2, c3, _, c5), memory = encoder(
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
    """As :func:`max_deeplab_s`, with a wide ResNet and layers of twice the width.

    One hourglass lies in the encoder and two behind it.
    """
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
    return masks, classes, net.semantic_logits(F.relu(semantic), 134), semantic


def kmax_deeplab(variables: Variables, image, *, backbone: str, cityscapes: bool = False):
    """As :func:`max_deeplab_s`; ``backbone`` 'r50', 'axial-r50' or 'convnext-t'.

    On Cityscapes there are 256 centers, a fifth stage of the pixel decoder that fuses the stem, and
    a semantic head on stage 5 itself, whose 19 classes do not include void.
    """
    act = F.relu if backbone == 'r50' else F.gelu
    if backbone == 'convnext-t':
        features = convnext(Net(variables, act), image, (3, 3, 9, 3), (96, 192, 384, 768))
    else:
        axial = backbone == 'axial-r50'
        features, _ = encoder(
            Net(variables, act), image, inception=axial, axial=axial, output_stride=32
        )
    net = Net(variables, F.gelu, classes=19 if cityscapes else 133)
    centers = variables('transformer_decoder/cluster_centers', 1, 256 if cityscapes else 128, 256)
    memory, x, layer = centers.expand(len(image), -1, -1), None, 0
    stages = [(512, 1), (256, 5), (128, 1), (64, 1), (32, 1)][: 5 if cityscapes else 4]
    for i, (skip, (filters, count)) in enumerate(zip(reversed(features), stages)):
        skip = net.layer_norm(f'pixel_decoder/_backbone_norms/{i}', skip)
        name = f'pixel_decoder/_skip_connections/{i - 1}'
        x = skip if i == 0 else net.fuse(name, [x, skip], filters)
        for number in range(1, count + 1):
            name = f'pixel_decoder/_stages/{i}/_block{number}'
            x = net.block(name, x, filters, i < 2, dilation=1 if i < 2 else 2)
        for _ in range(2 if i < 3 else 0):
            name = f'transformer_decoder/_kmax_decoder/{layer}/_block1_transformer'
            memory, layer = net.kmeans(name, x, memory), layer + 1
    masks, classes = net.predict(
        '',
        x,
        net.conv1d('transformer_decoder/_class_embedding_projection', memory, 256),
        net.conv1d('transformer_decoder/_mask_embedding_projection', memory, 256),
    )
    _, c2, c3, _, c5 = features
    semantic = net.semantic_logits(c5, 19) if cityscapes else net.semantic(c5, [act(c3), act(c2)])
    return masks, classes, semantic, c5


def convnext(net: Net, image, depths, widths):
    """Features of the stem and of all stages."""
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
            features.append(x)
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
