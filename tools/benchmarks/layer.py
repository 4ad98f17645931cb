"""One CMT layer beside a plain transcription of its equations.

Forward and backward at stride 8 of the R50 network, with logits of the layer before. The
transcription works with the same parameters: one convolution and one batch norm for each query, key
and value, the coordinates concatenated, the softmaxes as they stand. Compared are the outputs and
the gradients of the inputs and of all parameters.
"""

import argparse
from collections.abc import Iterator

import torch
from cmt_deeplab.models.transformer import CMTLayer
from harness import Subject
from torch import Tensor
from torch.nn import functional as F

WIDTHS = dict(pixel_channels=512, center_channels=256)
EPS = 1e-3  # of the norms


class PlainLayer:
    """The equations of a :class:`CMTLayer` in training, without its drop path."""

    def __init__(self, layer: CMTLayer) -> None:
        self.heads, self.depths = layer.heads, (layer.key_channels, layer.value_channels)
        self.parameters = dict(layer.named_parameters())

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self.parameters[f'{name}.{part}'] for part in ('weight', 'bias'))
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPS)

    def conv(self, x: Tensor, name: str) -> Tensor:
        bias = self.parameters.get(f'{name}.bias')
        return F.conv2d(x, self.parameters[f'{name}.weight'], bias)

    def conv_norm(self, x: Tensor, name: str) -> Tensor:
        return self.norm(self.conv(x, f'{name}.conv'), f'{name}.norm')

    def projections(self, x: Tensor, name: str, depths: tuple[int, ...]) -> list[Tensor]:
        """Queries, keys or values (B, h, d, M), each by its own convolution and norm."""
        parts = (
            self.parameters[f'{name}.{part}'].split(depths)
            for part in ('conv.weight', 'norm.weight', 'norm.bias')
        )
        return [
            F.batch_norm(F.conv2d(x, kernel), None, None, weight, bias, training=True, eps=EPS)
            .flatten(2)
            .unflatten(1, (self.heads, -1))
            for kernel, weight, bias in zip(*parts)
        ]

    def similarity(self, query: Tensor, key: Tensor, name: str) -> Tensor:
        return self.norm(torch.einsum('bhdn,bhdm->bhnm', query, key), name)

    def update(self, value: Tensor, name: str) -> Tensor:
        """Retrieved values (B, h, d, ...) as a residual term (B, C, ...)."""
        value = F.gelu(self.norm(value.flatten(1, 2), f'{name}.norm'))
        return self.conv_norm(value, f'{name}.project')

    def __call__(self, pixels: Tensor, centers: Tensor, logits: Tensor) -> list[Tensor]:
        """Pixels (B, Dp, H, W), centers (B, D, N) and logits (B, h, N, H, W), all updated."""
        size, centers = pixels.shape[2:], centers[..., None]
        points = F.gelu(self.conv_norm(centers, 'reference_mask.mlp.0'))
        points = 2 * self.conv(points, 'reference_mask.mlp.1.conv').sigmoid() - 1
        y, x = (torch.linspace(-1, 1, side) for side in size)
        planes = torch.stack(torch.meshgrid(x, y, indexing='xy')).expand(len(pixels), -1, -1, -1)
        own_pixels = torch.cat([F.gelu(pixels), planes], dim=1)
        own_pixels = F.gelu(self.conv_norm(own_pixels, 'pixel_project'))
        own_centers = torch.cat([centers, points], dim=1)
        own_centers = F.gelu(self.conv_norm(own_centers, 'center_project'))

        keys, values = self.depths
        key, pixel_value = self.projections(own_pixels, 'pixel_kv', (keys, values))
        query, center_value = self.projections(own_centers, 'center_qv', (keys, values))
        logits = self.similarity(query, key, 'similarity_norm') + logits.flatten(3)
        assignment, attention = logits.softmax(2), logits.softmax(3)
        retrieved = torch.einsum('bhdm,bhnm->bhdn', pixel_value, attention)
        pooled = torch.einsum('bhdm,bhnm->bhdn', pixel_value, assignment)

        names = 'self_attention.qkv', (keys, keys, values)
        query, key, value = self.projections(own_centers, *names)
        among = self.similarity(query, key, 'self_attention.similarity_norm').softmax(3)
        among = torch.einsum('bhdm,bhnm->bhdn', value, among)
        centers = centers + self.update(retrieved[..., None], 'cross_update')
        centers = centers + self.update(pooled[..., None], 'cluster_update')
        centers = F.gelu(centers + self.update(among[..., None], 'self_attention.update'))
        hidden = F.gelu(self.conv_norm(centers, 'ffn.expand'))
        centers = F.gelu(centers + self.conv_norm(hidden, 'ffn.reduce'))

        heard = torch.einsum('bhdn,bhnm->bhdm', center_value, assignment)
        pixels = pixels + self.update(heard.unflatten(3, size), 'pixel_update')
        return [pixels, centers[..., 0], logits.unflatten(3, size)]


def subjects(
    args: argparse.Namespace, *, side: int = 81, batch: int = 2, number: int = 128
) -> Iterator[Subject]:
    torch.manual_seed(0)
    norm_cfg = dict(type='PanopticSyncBN', eps=EPS, momentum=0.01)
    common = dict(norm_cfg=norm_cfg, act_cfg=dict(type='GELU'), align_corners=True)
    layer = CMTLayer(**WIDTHS, **common, predictor=None)
    for name, parameter in layer.named_parameters():
        if name.endswith('norm.weight'):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)  # some begin at 0
    plain = PlainLayer(layer)
    inputs = [
        torch.randn(batch, WIDTHS['pixel_channels'], side, side),
        torch.randn(batch, WIDTHS['center_channels'], number),
        torch.randn(batch, layer.heads, number, side, side),
    ]
    leaves = [*(each.requires_grad_() for each in inputs), *layer.parameters()]

    def step(form) -> list[Tensor]:
        outputs = form(*inputs)[:3]
        loss = sum(output.square().mean() for output in outputs)
        return [*(output.detach() for output in outputs), *torch.autograd.grad(loss, leaves)]

    yield Subject.of_steps(
        {'CMTLayer': lambda: step(layer), 'plain equations': lambda: step(plain)},
        title=f'layer, forward and backward, {batch} x {side}x{side}',
        runs=7,
    )
