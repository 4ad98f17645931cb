"""kMaX-DeepLab as the PyTorch code has it, slowly: modules whose attributes give the public names of its checkpoints.

Written from the description of bytedance/kmax-deeplab for the tests of the converters; drop path and initialization are left out.
"""

from math import log

import torch
import torch.nn.functional as F
from torch import nn

SPAN = 255


class Norm(nn.Module):
    """Batch norm in evaluation, any number of axes; ``SyncBatchNorm``'s names, eps 1e-3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))
        self.register_buffer('num_batches_tracked', torch.tensor(0))

    def forward(self, x):
        shape = [1, -1] + [1] * (x.dim() - 2)
        weight, bias, mean, var = (
            t.view(shape) for t in (self.weight, self.bias, self.running_mean, self.running_var)
        )
        return weight * (x - mean) / torch.sqrt(var + 1e-3) + bias


class ChannelNorm(nn.Module):
    """Layer norm over axis 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )

    def forward(self, x):
        centerd = x - x.mean(1, keepdim=True)
        x = centerd / torch.sqrt(centerd.square().mean(1, keepdim=True) + 1e-6)
        return self.weight.view(1, -1, 1, 1) * x + self.bias.view(1, -1, 1, 1)


class ConvBN(nn.Module):
    def __init__(
        self,
        inputs,
        outputs,
        size=1,
        *,
        dims=2,
        act=None,
        bias=False,
        norm=True,
        dilation=1,
        groups=1,
    ) -> None:
        super().__init__()
        conv = nn.Conv1d if dims == 1 else nn.Conv2d
        self.conv = conv(
            inputs,
            outputs,
            size,
            padding=dilation * (size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = Norm(outputs) if norm else nn.Identity()
        self.act = act or nn.Identity()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class NormedConv(nn.Conv2d):
    """Detectron2's convolution, the norm its child."""

    def __init__(self, inputs, outputs, size, stride=1) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        self.norm = Norm(outputs)

    def forward(self, x):
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride) -> None:
        super().__init__()
        self.shortcut = NormedConv(inputs, 4 * width, 1, stride) if inputs != 4 * width else None
        self.conv1 = NormedConv(inputs, width, 1)
        self.conv2 = NormedConv(width, width, 3, stride)
        self.conv3 = NormedConv(width, 4 * width, 1)

    def forward(self, x):
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet50(nn.Module):
    channels = (256, 512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = NormedConv(3, 64, 7, 2)
        inputs = 64
        for stage, count in zip((2, 3, 4, 5), (3, 4, 6, 3)):
            width = 2 ** (stage + 4)
            blocks = [
                Bottleneck(inputs if i == 0 else 4 * width, width, 2 if i == 0 and stage > 2 else 1)
                for i in range(count)
            ]
            self.add_module(f'res{stage}', nn.Sequential(*blocks))
            inputs = 4 * width

    def forward(self, x):
        x, features = F.max_pool2d(F.relu(self.stem.conv1(x)), 3, 2, 1), []
        for stage in (2, 3, 4, 5):
            x = getattr(self, f'res{stage}')(x)
            features.append(x)
        return features


class ConvNeXtBlock(nn.Module):
    def __init__(self, width) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = ChannelNorm(width)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtTiny(nn.Module):
    channels = (96, 192, 384, 768)

    def __init__(self) -> None:
        super().__init__()
        widths = self.channels
        layers = [nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), ChannelNorm(widths[0]))]
        layers += [
            nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, stride=2))
            for a, b in zip(widths, widths[1:])
        ]
        self.downsample_layers = nn.ModuleList(layers)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(w) for _ in range(n)))
            for w, n in zip(widths, (3, 3, 9, 3))
        )

    def forward(self, x):
        features = []
        for i in range(4):
            x = self.downsample_layers[i](F.pad(x, (1, 2, 1, 2) if i == 0 else (0, 1, 0, 1)))
            x = self.stages[i](x)
            features.append(x)
        return features


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
    def __init__(self, low, high, outputs) -> None:
        super().__init__()
        self._conv_bn_low, self._conv_bn_high = ConvBN(low, outputs), ConvBN(high, outputs)

    def forward(self, low, high):
        low = F.interpolate(
            self._conv_bn_low(F.gelu(low)), size=high.shape[2:], mode='bilinear', align_corners=True
        )
        return low + self._conv_bn_high(F.gelu(high))


class PixelDecoder(nn.Module):
    def __init__(self, channels) -> None:
        super().__init__()
        channels, filters = list(reversed(channels)), (512, 256, 128, 64)
        self._in_norms = nn.ModuleList(ChannelNorm(c) for c in channels)
        self._stages = nn.ModuleList(
            BlockGroup(channels[0] if i == 0 else f, f, n, i < 2)
            for i, (f, n) in enumerate(zip(filters, (1, 5, 1, 1)))
        )
        self._resized_fuses = nn.ModuleList(
            ResizedFuse(4 * filters[i - 1], channels[i], filters[i]) for i in (1, 2, 3)
        )

    def forward(self, features):
        skips, planes = (
            [norm(feature) for norm, feature in zip(self._in_norms, reversed(features))],
            [],
        )
        for i, stage in enumerate(self._stages):
            planes.append(
                stage(skips[0] if i == 0 else self._resized_fuses[i - 1](planes[-1], skips[i]))
            )
        return planes


class Predictor(nn.Module):
    def __init__(self, pixels, classes) -> None:
        super().__init__()
        self.classes = classes
        self._pixel_space_head_conv0bnact = ConvBN(pixels, pixels, 5, groups=pixels, act=F.gelu)
        self._pixel_space_head_conv1bnact = ConvBN(pixels, 256, act=F.gelu)
        self._pixel_space_head_last_convbn = ConvBN(256, 128, bias=True)
        self._transformer_mask_head = ConvBN(256, 128, dims=1)
        self._transformer_class_head = ConvBN(256, classes + 1, dims=1, bias=True, norm=False)
        self._pixel_space_mask_batch_norm = Norm(1)

    def forward(self, mask_embeddings, class_embeddings, pixels):
        x = self._pixel_space_head_conv1bnact(self._pixel_space_head_conv0bnact(pixels))
        x = F.normalize(self._pixel_space_head_last_convbn(x), dim=1)
        classes = self._transformer_class_head(class_embeddings).permute(0, 2, 1).clone()
        classes[..., -1] += log(self.classes * 0.9 / 0.1)
        masks = torch.einsum('bchw,bcn->bnhw', x, self._transformer_mask_head(mask_embeddings))
        return self._pixel_space_mask_batch_norm(masks.unsqueeze(1)).squeeze(1), classes


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._batch_norm_similarity, self._batch_norm_retrieved_value = Norm(8), Norm(256)

    def forward(self, q, k, v):
        weights = self._batch_norm_similarity(torch.einsum('bhdl,bhdm->bhlm', q, k)).softmax(-1)
        return F.gelu(
            self._batch_norm_retrieved_value(
                torch.einsum('bhlm,bhdm->bhdl', weights, v).flatten(1, 2)
            )
        )


class Layer(nn.Module):
    def __init__(self, pixels, classes) -> None:
        super().__init__()
        self._query_conv1_bn_act = ConvBN(256, 256, dims=1, act=F.gelu)
        self._pixel_conv1_bn_act = ConvBN(pixels, 256, act=F.gelu)
        self._query_qkv_conv_bn = ConvBN(256, 512, dims=1)
        self._pixel_v_conv_bn = ConvBN(256, 256)
        self._query_self_attention = SelfAttention()
        self._query_conv3_bn = ConvBN(256, 256, dims=1)
        self._query_ffn_conv1_bn_act = ConvBN(256, 2048, dims=1, act=F.gelu)
        self._query_ffn_conv2_bn = ConvBN(2048, 256, dims=1)
        self._predcitor = Predictor(256, classes)
        self._kmeans_query_batch_norm_retrieved_value = Norm(256)
        self._kmeans_query_conv3_bn = ConvBN(256, 256, dims=1)

    def forward(self, pixels, queries):
        own_pixels, own_queries = (
            self._pixel_conv1_bn_act(F.gelu(pixels)),
            self._query_conv1_bn_act(queries),
        )
        masks, _ = self._predcitor(own_queries, own_queries, own_pixels)
        assigned = F.one_hot(masks.flatten(2).argmax(1), masks.shape[1]).double()  # (B, HW, N)
        pooled = self._pixel_v_conv_bn(own_pixels).flatten(2) @ assigned
        update = self._kmeans_query_conv3_bn(self._kmeans_query_batch_norm_retrieved_value(pooled))
        q, k, v = (
            part.unflatten(1, (8, -1))
            for part in self._query_qkv_conv_bn(own_queries).split([128, 128, 256], 1)
        )
        queries = F.gelu(
            queries + update + self._query_conv3_bn(self._query_self_attention(q, k, v))
        )
        return F.gelu(queries + self._query_ffn_conv2_bn(self._query_ffn_conv1_bn_act(queries)))


class ASPP(nn.Module):
    def __init__(self, inputs) -> None:
        super().__init__()
        self._aspp_conv0 = ConvBN(inputs, 256, act=F.gelu)
        for i, rate in enumerate((6, 12, 18), start=1):
            self.add_module(f'_aspp_conv{i}', ConvBN(inputs, 256, 3, dilation=rate, act=F.gelu))
        self._aspp_pool = ConvBN(inputs, 256, act=F.gelu)
        self._proj_conv_bn_act = ConvBN(5 * 256, 256, act=F.gelu)

    def forward(self, x):
        planes = [getattr(self, f'_aspp_conv{i}')(x) for i in range(4)]
        planes.append(self._aspp_pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:]))
        return self._proj_conv_bn_act(torch.cat(planes, 1))


class SemanticPredictor(nn.Module):
    def __init__(self, channels, classes) -> None:
        super().__init__()
        self._aspp = ASPP(channels[3])
        for name, inputs, outputs in (('os8', channels[1], 64), ('os4', channels[0], 32)):
            self.add_module(f'_low_level_projection_{name}', ConvBN(inputs, outputs, act=F.gelu))
            width = 256 + outputs
            self.add_module(
                f'_low_level_fusion_{name}_conv0_bn_act',
                ConvBN(width, width, 5, groups=width, act=F.gelu),
            )
            self.add_module(
                f'_low_level_fusion_{name}_conv1_bn_act', ConvBN(width, 256, act=F.gelu)
            )
        self.conv_block_0 = ConvBN(256, 256, 5, groups=256, act=F.gelu)
        self.conv_block_1 = ConvBN(256, 256, act=F.gelu)
        self.final_conv = ConvBN(256, classes + 1, bias=True, norm=False)

    def forward(self, features):
        x = self._aspp(features[3])
        for name, skip in (('os8', features[1]), ('os4', features[0])):
            skip = getattr(self, f'_low_level_projection_{name}')(skip)
            x = torch.cat(
                [F.interpolate(x, size=skip.shape[2:], mode='bilinear', align_corners=True), skip],
                1,
            )
            x = getattr(self, f'_low_level_fusion_{name}_conv0_bn_act')(x)
            x = getattr(self, f'_low_level_fusion_{name}_conv1_bn_act')(x)
        return self.final_conv(self.conv_block_1(self.conv_block_0(x)))


class TransformerDecoder(nn.Module):
    def __init__(self, channels, classes) -> None:
        super().__init__()
        self._kmax_transformer_layers = nn.ModuleList(
            Layer(pixels, classes) for pixels in (2048, 2048, 1024, 1024, 512, 512)
        )
        self._cluster_centers = nn.Embedding(256, 128)
        self._class_embedding_projection = ConvBN(256, 256, dims=1, act=F.gelu)
        self._mask_embedding_projection = ConvBN(256, 256, dims=1, act=F.gelu)
        self._predcitor = Predictor(256, classes)
        self._auxiliary_semantic_predictor = SemanticPredictor(channels, classes)

    def forward(self, planes):
        queries = self._cluster_centers.weight.expand(len(planes[0]), -1, -1)
        for number, layer in enumerate(self._kmax_transformer_layers):
            queries = layer(planes[number // 2], queries)
        return self._predcitor(
            self._mask_embedding_projection(queries),
            self._class_embedding_projection(queries),
            planes[-1],
        )


class KMaXDeepLab(nn.Module):
    """Mask logits (B, N, H, W), class logits (B, N, C+1) and semantic logits (B, C+1, H, W)."""

    def __init__(self, backbone: nn.Module, classes: int = 133) -> None:
        super().__init__()
        self.backbone, self.sem_seg_head = backbone, nn.Module()
        self.sem_seg_head.pixel_decoder = PixelDecoder(backbone.channels)
        self.sem_seg_head.predictor = TransformerDecoder(backbone.channels, classes)

    def forward(self, image):
        features = self.backbone(image)
        masks, classes = self.sem_seg_head.predictor(self.sem_seg_head.pixel_decoder(features))
        return masks, classes, self.sem_seg_head.predictor._auxiliary_semantic_predictor(features)
