"""Memory layers and prediction heads of deeplab2's networks, slowly, channels last, in float64."""

from math import log

import torch
import torch.nn.functional as F
from deeplab2_layers import HEADS, PixelLayers, resize


class Net(PixelLayers):
    """All layers; ``classes`` does not count void."""

    def __init__(self, variables, act, expansions=(2, 1, 2), classes=133) -> None:
        super().__init__(variables, act, expansions)
        self.classes = classes

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

    def predict(self, prefix, pixels, class_feature, mask_feature):
        x = self.separable(f'{prefix}pixel_space_head/conv_block/_conv1_bn_act', pixels, 256)
        x = self.convolve(self.v(f'{prefix}pixel_space_head/final_conv/kernel', 1, 1, 256, 128), x)
        x = self.norm(
            f'{prefix}pixel_space_feature_batch_norm',
            x + self.v(f'{prefix}pixel_space_head/final_conv/bias', 128),
        )
        x = x / x.square().sum(-1, keepdim=True).sqrt()
        logits = self.conv1d(
            f'{prefix}transformer_class_head', class_feature, self.classes + 1, norm=False
        )
        bias = torch.zeros(self.classes + 1, dtype=logits.dtype, device=logits.device)
        bias[-1] = log(self.classes * 0.9 / 0.1)
        kernels = self.conv1d(f'{prefix}transformer_mask_head', mask_feature, 128, act=False)
        masks = torch.einsum('bhwd,bid->bhwi', x, kernels)
        return self.norm(f'{prefix}pixel_space_mask_batch_norm', masks[..., None])[
            ..., 0
        ], logits + bias  # (B, H, W, N), (B, N, C+1)

    def semantic(self, x, skips):
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
        return self.semantic_logits(x, self.classes + 1)

    def semantic_logits(self, x, channels):
        x = self.separable('semantic_head_without_last_layer/_conv1_bn_act', x, 256)
        kernel = self.v('semantic_last_layer/kernel', 1, 1, 256, channels)
        return self.convolve(kernel, x) + self.v('semantic_last_layer/bias', channels)
