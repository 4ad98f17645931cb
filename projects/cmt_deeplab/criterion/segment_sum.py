"""Sums over the pixels of each segment, without one-hot masks."""

import torch
from torch import Tensor

# Each segment's sum is kept in this many interleaved parts: neighboring pixels do not queue for one address on a GPU, and no single
# fp32 accumulator has to take up a whole plane.
PARTS = 32


def segment_sum(values: Tensor, segment: Tensor, num_buckets: int) -> Tensor:
    """Sum ``values`` (B, C, P) over the pixels of each bucket of ``segment`` (B, P) int64 in 0..num_buckets-1: (B, C, num_buckets).

    The gradient is a gather of the incoming one. Memory beside the values: B x C x num_buckets x 32 numbers.
    """
    batch, channels, pixels = values.shape
    part = torch.arange(pixels, device=segment.device) % PARTS  # (P,)
    bucket = (segment * PARTS + part)[:, None].expand(
        batch, channels, pixels
    )  # a view: the channels share one plane of buckets
    sums = values.new_zeros(batch, channels, num_buckets * PARTS).scatter_add(2, bucket, values)
    return sums.view(batch, channels, num_buckets, PARTS).sum(-1)
