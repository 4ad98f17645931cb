"""What pixels and centers receive from each other, with few tensors kept for the gradient."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IN_CACHE = 2**18  # logits up to which a CPU computes all heads at once: measured, 1 MiB
FP16_SCALE = 256.0  # by which sums over pixels are smaller while they are in fp16


def soft(logits: Tensor) -> Tensor:
    """The share of each center in each pixel, (..., N, HW): a softmax over N."""
    return logits.softmax(-2)


def nearest_center(logits: Tensor) -> Tensor:
    """1 for the center with the largest logit of each pixel, otherwise 0: (..., N, HW)."""
    nearest = logits.argmax(dim=-2, keepdim=True)
    return torch.zeros_like(logits).scatter_(-2, nearest, 1.0)


def pool(value: Tensor, assignment: Tensor) -> Tensor:
    """The sums (..., d, N) of the values (..., d, M) of the pixels assigned to each center.

    Sums over thousands of pixels exceed the range of fp16, so they leave it here; bf16 has that
    of fp32, and torch's matrix products add up in fp32. Autocast may not bring values in fp32,
    which some norms give, to fp16.
    """
    with torch.autocast(value.device.type, enabled=False):
        if value.dtype != torch.float16:
            return value @ assignment.mT
        return ((value / FP16_SCALE) @ assignment.mT).float() * FP16_SCALE


def retrieve(
    logits: Tensor,
    pixel_value: Tensor,
    center_value: Tensor | None = None,
    *,
    attend: bool = True,
    pooled: bool = False,
    assign: Callable = soft,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """What ``logits`` (B, h, N, M) bring to N centers from M pixels, and to the pixels.

    With ``attend``, the sums (B, h d, N) of the pixels' values (B, h, d, M) with a softmax over
    the pixels. With ``pooled``, :func:`pool` by the assignment of the pixels to the centers,
    ``assign(logits)``. With ``center_value`` (B, h, d, N), what the pixels receive by that
    assignment, (B, h d, M). What is not asked for is None.

    The kernels of softmaxes compute in fp32; the results are in the precision of the values. Only
    the inputs are kept for the gradient, which computes the softmaxes again.
    :func:`nearest_center` has no gradient.
    """
    found = _Retrieve.apply(logits, pixel_value, center_value, attend, pooled, assign)
    return tuple(None if one is None else one.flatten(1, 2) for one in found)


def _by_heads(function: Callable, *tensors: Tensor | None) -> list[Tensor | None]:
    """``function`` of tensors (B, h, ...), which on a CPU sees one head at a time.

    So what it computes in between stays in the cache, where a loop over the heads costs less than
    memory does. Tensors without values stand for a GPU.
    """
    first = tensors[0]
    with torch.autocast(first.device.type, enabled=False):
        whole = type(first) is not Tensor or first.device.type != 'cpu'
        if whole or first.numel() <= IN_CACHE or torch.compiler.is_compiling():
            return function(*tensors)
        outputs = None
        for index in [(b, h) for b in range(first.shape[0]) for h in range(first.shape[1])]:
            found = function(*(one if one is None else one[index] for one in tensors))
            if outputs is None:
                outputs = [
                    one if one is None else one.new_empty(*first.shape[:2], *one.shape)
                    for one in found
                ]
            for output, one in zip(outputs, found):
                if one is not None:
                    output[index] = one
        return outputs


class _Retrieve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        pixel_value: Tensor,
        center_value: Tensor | None,
        attend: bool,
        pooled: bool,
        assign: Callable,
    ) -> tuple[Tensor | None, ...]:
        def found(logits: Tensor, value: Tensor, center_value: Tensor | None) -> list:
            to_centers = sums = to_pixels = None
            if attend:
                to_centers = value @ logits.softmax(-1).to(value.dtype).mT
            if pooled or center_value is not None:
                assignment = assign(logits).to(value.dtype)
            if pooled:
                sums = pool(value, assignment)
            if center_value is not None:
                to_pixels = center_value @ assignment
            return [to_centers, sums, to_pixels]

        ctx.save_for_backward(logits, pixel_value, center_value)
        ctx.assign = assign
        ctx.set_materialize_grads(False)
        return tuple(_by_heads(found, logits, pixel_value, center_value))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        def found(
            logits: Tensor,
            value: Tensor,
            center_value: Tensor | None,
            of_centers: Tensor | None,
            of_sums: Tensor | None,
            of_pixels: Tensor | None,
        ) -> list:
            of_logits, of_value, of_center_value = [], [], None
            if of_centers is not None:
                attention = logits.softmax(-1)
                of_value.append(of_centers @ attention.to(value.dtype))
                of_logits.append(_of_softmax(of_centers.mT @ value, attention, -1))
            left, right = [], []  # the gradient of the assignment is left^T right
            assignment = ctx.assign(logits)
            weights = assignment.to(value.dtype)
            if of_sums is not None:
                of_sums = of_sums.to(value.dtype)
                of_value.append(of_sums @ weights)
                left.append(of_sums)
                right.append(value)
            if of_pixels is not None:
                of_center_value = of_pixels @ weights.mT
                left.append(center_value)
                right.append(of_pixels)
            if left and ctx.assign is soft:
                of_weights = torch.cat(left, -2).mT @ torch.cat(right, -2)
                of_logits.append(_of_softmax(of_weights, assignment, -2))
            return [_total(of_logits), _total(of_value), of_center_value]

        return *_by_heads(found, *ctx.saved_tensors, *grads), None, None, None


def _of_softmax(grad: Tensor, weights: Tensor, dim: int) -> Tensor:
    """The gradient of the logits from that of their softmax, ``weights``."""
    return torch._softmax_backward_data(grad.to(weights.dtype), weights, dim, weights.dtype)


def _total(terms: list[Tensor]) -> Tensor | None:
    return sum(terms[1:], terms[0]) if terms else None
