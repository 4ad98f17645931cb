"""Axial attention beside the form that gathers the relative positions as L x L x d tensors.

Forward and backward of both forms on one module, its norms in training mode; compared are the
output and the gradients of the input and of all parameters.
"""

import argparse
from functools import partial

import torch
from cmt_deeplab.models.blocks.axial_attention import AxialAttention2D
from harness import Subject
from torch import Tensor, nn


def attend_gathered(attention: nn.Module, x: Tensor) -> Tensor:
    """Attention along one axis as in deeplab2 and kmax-deeplab: einsum, and positions gathered for
    every pair of pixels. ``x`` is (B, C, L).
    """
    batch, _, length = x.shape
    heads, span = attention.num_heads, attention.query_positions.span
    depths = [attention.key_depth, attention.key_depth, attention.value_depth]
    q, k, v = (part.unflatten(1, (heads, -1)) for part in attention.qkv(x).split(depths, dim=1))
    position = torch.arange(length, device=x.device)
    index = (position[None] - position[:, None]).clamp(1 - span, span - 1) + span - 1
    tables = (attention.query_positions, attention.key_positions, attention.value_positions)
    to_query, to_key, to_value = (table.weight[index] for table in tables)
    similarity = [
        torch.einsum('bhdl,bhdm->bhlm', q, k),
        torch.einsum('bhdl,lmd->bhlm', q, to_query),
        torch.einsum('bhdm,lmd->bhlm', k, to_key),
    ]
    similarity = attention.similarity_norm(torch.cat(similarity, dim=1))
    weights = similarity.unflatten(1, (3, heads)).sum(1).float().softmax(-1).to(v.dtype)
    retrieved = [
        torch.einsum('bhlm,bhdm->bhdl', weights, v),
        torch.einsum('bhlm,lmd->bhdl', weights, to_value),
    ]
    retrieved = torch.cat(retrieved, dim=1).reshape(batch, -1, length, 1)
    return attention.retrieved_norm(retrieved).view(batch, 2, -1, length).sum(1)


def gathered_positions(module: nn.Module, x: Tensor) -> Tensor:
    """Attention along the height, then along the width, of ``x`` (B, C, H, W)."""
    x = x.permute(0, 3, 1, 2)  # (B, W, C, H)
    for axis in (module.height_axis, module.width_axis):
        x = attend_gathered(axis, x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x = x.permute(0, 3, 2, 1)  # the other axis is the last
    return x.permute(0, 2, 3, 1)


def subject(args: argparse.Namespace) -> Subject:
    torch.manual_seed(0)
    depths = dict(key_depth=args.channels, value_depth=2 * args.channels)
    module = AxialAttention2D(args.channels, **depths).to(args.device)
    x = torch.randn(args.batch, args.channels, *args.size, device=args.device, requires_grad=True)
    pattern = torch.arange(args.size[0] * args.size[1], device=args.device).cos().view(*args.size)

    def step(form) -> list[Tensor]:
        with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.bf16):
            output = form(x)
            loss = (output * pattern).mean()
            return [output.detach(), *torch.autograd.grad(loss, [x, *module.parameters()])]

    return Subject.of_steps(
        {
            'ours': lambda: step(module),
            'gathered positions': lambda: step(partial(gathered_positions, module)),
        }
    )
