"""kMaX-DeepLab as the PyTorch code has it, slowly: attributes give the names of its checkpoints.

Written from the description of bytedance/kmax-deeplab for the tests of the converters; drop path
and initialization are left out.
"""

from math import log

import torch
import torch.nn.functional as F
from kmax_pytorch_backbones import ConvBN, Norm
from kmax_pytorch_pixel_decoder import PixelDecoder
from torch import nn


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
    def __init__(self, classes, centers, pixels, semantic_predictor) -> None:
        super().__init__()
        self._kmax_transformer_layers = nn.ModuleList(
            Layer(pixels, classes) for pixels in (2048, 2048, 1024, 1024, 512, 512)
        )
        self._cluster_centers = nn.Embedding(256, centers)
        self._class_embedding_projection = ConvBN(256, 256, dims=1, act=F.gelu)
        self._mask_embedding_projection = ConvBN(256, 256, dims=1, act=F.gelu)
        self._predcitor = Predictor(pixels, classes)
        self._auxiliary_semantic_predictor = semantic_predictor

    def forward(self, planes):
        queries = self._cluster_centers.weight.expand(len(planes[0]), -1, -1)
        for number, layer in enumerate(self._kmax_transformer_layers):
            queries = layer(planes[number // 2], queries)
        return self._predcitor(
            self._mask_embedding_projection(queries),
            self._class_embedding_projection(queries),
            planes[-1],
        )


def semantic_predictor_of_cityscapes(channels):
    """On the coarsest feature itself; its 19 classes do not include void."""
    return nn.Sequential(
        ConvBN(channels, channels, 5, groups=channels, act=F.gelu),
        ConvBN(channels, 256, act=F.gelu),
        ConvBN(256, 19, bias=True, norm=False),
    )


class KMaXDeepLab(nn.Module):
    """Mask logits (B, N, H, W), class logits (B, N, C+1) and semantic logits (B, C+1, H, W).

    On Cityscapes there are 256 centers and a fifth stage of the pixel decoder. Its features are
    sorted by their nominal stride: a ResNet's stem, at stride 4 like res2, comes before res2.
    """

    def __init__(self, backbone: nn.Module, cityscapes: bool = False) -> None:
        super().__init__()
        self.backbone, self.sem_seg_head = backbone, nn.Module()
        self.order = [4, 3, 2, 1]
        if cityscapes:
            self.order = [4, 3, 2, 0, 1] if hasattr(backbone, 'stem') else [4, 3, 2, 1, 0]
        widths = (backbone.stem_channels, *backbone.channels)
        head = self.sem_seg_head
        head.pixel_decoder = PixelDecoder([widths[i] for i in self.order])
        classes, centers, pixels = (19, 256, 128) if cityscapes else (133, 128, 256)
        semantic = (
            semantic_predictor_of_cityscapes(widths[-1])
            if cityscapes
            else SemanticPredictor(backbone.channels, classes)
        )
        head.predictor = TransformerDecoder(classes, centers, pixels, semantic)

    def forward(self, image):
        features = self.backbone(image)
        head = self.sem_seg_head
        masks, classes = head.predictor(head.pixel_decoder([features[i] for i in self.order]))
        semantic = head.predictor._auxiliary_semantic_predictor
        whole = isinstance(semantic, SemanticPredictor)
        return masks, classes, semantic(features[1:] if whole else features[-1])
