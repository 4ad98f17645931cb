"""Sampling of labeled pixels that favors small segments."""

from collections.abc import Sequence
from typing import Union

import torch
from torch import Tensor

from cmt_deeplab.errors import UserError

from .segment_planes import StagePlane

Generators = Union[None, torch.Generator, Sequence[torch.Generator]]


def _uniform(shape: tuple[int, int], device: torch.device, generator: Generators) -> Tensor:
    """(B, P) uniform numbers in [0, 1): of one generator for the batch, or of one for each image."""
    if generator is None or isinstance(generator, torch.Generator):
        return torch.rand(
            shape, generator=generator, device=device if generator is None else generator.device
        ).to(device)
    if len(generator) != shape[0]:
        raise UserError(
            f'{len(generator)} generators were given for a batch of {shape[0]} images: give one for each, or a single one.'
        )
    return torch.stack(
        [torch.rand(shape[1], generator=g, device=g.device).to(device) for g in generator]
    )


@torch.no_grad()
def sample_pixels(
    stage: StagePlane, number: int, temperature: float, generator: Generators = None
) -> tuple[Tensor, Tensor]:
    """Draw k = min(number, P) pixels of each image without replacement: their positions (B, k) and which are labeled, (B, k) bool.

    Gumbel top-k over the labeled pixels with logits ``temperature * log(P / area of the pixel's own segment)``. With fewer labeled
    pixels than k all of them are drawn and the rest is marked invalid, so shapes never depend on the data. Source: deeplab2 code.
    """
    labeled = stage.labeled
    batch, pixels = labeled.shape
    if pixels <= number:
        return torch.arange(pixels, device=labeled.device).expand(batch, pixels), labeled
    area = stage.area.gather(1, stage.segment).clamp(min=1)
    # Only the ends of (0, 1) have no Gumbel number; fp32 never draws 1, and 0 is moved to the smallest normal number.
    uniform = _uniform((batch, pixels), labeled.device, generator).clamp(
        min=torch.finfo(torch.float32).tiny
    )
    score = temperature * torch.log(pixels / area) - torch.log(-torch.log(uniform))
    position = torch.where(labeled, score, float('-inf')).topk(number, dim=1, sorted=False).indices
    return position, labeled.gather(1, position)
