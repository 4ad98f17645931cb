"""What a loss reads of one stage, or of several at once, and the pixels that it draws of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult

from .targets import Generators, SegmentPlanes, StagePlane, computed_once, joined, segment_sum

# How many numbers the largest temporary tensor may have, where work can be done in parts. Few large
# parts suit a GPU, and parts that its cache holds suit a CPU.
AT_ONCE = dict(cuda=2**26, cpu=2**21)


def numbers_at_once(device: torch.device) -> int:
    """See :data:`AT_ONCE`; other devices are taken for a GPU."""
    return AT_ONCE.get(device.type, AT_ONCE['cuda'])


class _MaskSums(torch.autograd.Function):
    """See :attr:`LossInput.mask_sums`. The softmax is computed again in the backward pass.

    So nothing of the size of the mask logits is kept but these themselves.
    """

    @staticmethod
    def forward(
        ctx, logits: Tensor, center: Tensor, segment: Tensor, bucket: Tensor, num_segments: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        mask = at_least_fp32(logits).log_softmax(1)  # (B, N, P)
        own = mask.gather(1, center.clamp(min=0)[:, None])  # (B, 1, P)
        matched = (center >= 0)[:, None]
        log_own = own.masked_fill(~matched, 0).sum((1, 2))
        inter = segment_sum(own.exp_(), bucket, num_segments)[:, 0]
        kept = torch.bmm(mask.exp_(), matched.to(mask).mT)[..., 0]
        ctx.save_for_backward(logits, center, segment, own)
        return inter, kept, log_own

    @staticmethod
    @once_differentiable
    def backward(ctx, inter_grad: Tensor, kept_grad: Tensor, log_grad: Tensor) -> tuple:
        logits, center, segment, own = ctx.saved_tensors
        mask = at_least_fp32(logits).softmax(1)
        matched = (center >= 0).to(mask)[:, None]  # (B, 1, P)
        # Of the logarithm of the mask of each pixel's own center.
        own_grad = own * inter_grad.gather(1, segment)[:, None] + log_grad[:, None, None]
        own_grad *= matched
        inner = matched * torch.bmm(kept_grad[:, None], mask) + own_grad
        inner = torch.baddbmm(inner, kept_grad[..., None], matched, beta=-1)
        grad = mask.mul_(inner).scatter_add_(1, center.clamp(min=0)[:, None], own_grad)
        return grad.to(logits), None, None, None, None


@dataclass(frozen=True)
class LossInput:
    """What a loss reads of one stage, or of several whose images stand in a row.

    Of several stages, ``prediction`` has the tensor alone that the loss is :attr:`joined_by`.
    """

    prediction: MaskPrediction | Tensor  # or the semantic logits (B, C+1, h, w), if it reads them
    planes: SegmentPlanes  # the ground truth of the batch
    match: MatchResult | None  # None if the loss does not read it
    generator: Generators
    parts: tuple['LossInput', ...] = ()  # the stages, if there are several

    @computed_once
    def stage(self) -> StagePlane:
        """The ground truth at the size of the prediction."""
        pixels = self.prediction
        if isinstance(pixels, MaskPrediction):
            pixels = pixels.pixel_features if self.parts else pixels.mask_logits
        return self.planes.at(pixels)

    @computed_once
    def area(self) -> Tensor:
        """(B, K+1) float32: the pixels of each segment at the size of the prediction."""
        areas = [one.stage.area for one in self.parts or (self,)]
        return torch.cat(areas) if self.parts else areas[0]

    @computed_once
    def centers(self) -> Tensor:
        """(B, K+1) int64: the center of each segment that has a pixel, and -1 for all others."""
        return torch.where(self.area > 0, self.match.centers, -1)

    @computed_once
    def mask_sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over the masks (B, N, P), a softmax of the mask logits over the centers.

        These are, over the pixels of each segment, (B, K+1), the mask of the segment's center,
        which means nothing where it has none; over the pixels of matched segments each mask,
        (B, N), and the logarithm (B,) of the mask of each pixel's own center.
        """
        sums, rest = [], self.centers
        parts = self.parts or (self,)
        for group in equal_stages(parts, 'mask_logits'):
            logits = _cat([parts[i].prediction.mask_logits for i in group])
            stage = parts[0].planes.repeated(len(group)).at(logits)
            own, rest = rest[: len(logits)], rest[len(logits) :]
            center = own.gather(1, stage.segment)  # (B, P)
            planes = center, stage.segment, stage.bucket
            sums.append(_MaskSums.apply(logits.flatten(2), *planes, stage.num_segments))
        return tuple(_cat(tensors) for tensors in zip(*sums))


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


def equal_stages(inputs: Sequence[LossInput], name: str) -> list[list[int]]:
    """Numbers of neighboring stages whose tensors of this name have equal shapes.

    Stages without such a tensor are left out. Maps have no more than :func:`numbers_at_once`
    numbers together.
    """
    groups: list[list[int]] = []
    for number, one in enumerate(inputs):
        tensor = getattr(one.prediction, name)
        if tensor is None:
            continue
        is_map = name in ('mask_logits', 'pixel_features')
        most = numbers_at_once(tensor.device) // tensor.numel() if is_map else len(inputs)
        last = getattr(inputs[groups[-1][-1]].prediction, name) if groups else tensor[:0]
        if (last.shape, last.dtype) == (tensor.shape, tensor.dtype) and len(groups[-1]) < most:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def joined_stages(inputs: Sequence[LossInput], name: str) -> LossInput:
    """One input of several stages, with the tensor ``name`` of their predictions."""
    first, number = inputs[0], len(inputs)
    if number == 1:
        return first
    generator = first.generator
    if generator is not None and not isinstance(generator, torch.Generator):
        generator = [*generator] * number
    tensors = dict.fromkeys(vars(first.prediction))
    tensors[name] = torch.cat([getattr(one.prediction, name) for one in inputs])
    match = first.match and joined([one.match for one in inputs])
    planes = first.planes.repeated(number)
    return LossInput(MaskPrediction(**tensors), planes, match, generator, tuple(inputs))


def _uniform(shape: Sequence[int], device: torch.device, generator: Generators) -> Tensor:
    """(B, P) uniform numbers in [0, 1), drawn by one generator, or by one per image."""
    if generator is None or isinstance(generator, torch.Generator):
        source = device if generator is None else generator.device
        return torch.rand(shape, generator=generator, device=source).to(device)
    if len(generator) != shape[0]:
        raise UserError(
            f'{len(generator)} generators were given for a batch of {shape[0]} images: give one '
            'for each, or a single one.'
        )
    return torch.cat([_uniform((1, shape[1]), device, own) for own in generator])


@torch.no_grad()
def sample_pixels(
    stage: StagePlane, number: int | None, temperature: float, generator: Generators = None
) -> tuple[Tensor, Tensor]:
    """Draw labeled pixels of each image without replacement, favoring small segments.

    This is a Gumbel top-k over the labeled pixels with the logits
    ``-temperature * log(area of the pixel's own segment)``, as in deeplab2. An image with fewer
    labeled pixels than are drawn gives all of them, and the rest is marked as not valid, so shapes
    never depend on the data. If ``number`` is None or not below P, all pixels are taken.

    Returns:
        Positions (B, k) int64 with k = min(number, P), and whether they are labeled, (B, k) bool.
    """
    labeled = stage.labeled
    batch, pixels = labeled.shape
    if number is None or pixels <= number:
        return torch.arange(pixels, device=labeled.device).expand(batch, pixels), labeled
    # The logarithms need numbers inside of (0, 1). fp32 never draws 1, and 0 is moved.
    uniform = _uniform(labeled.shape, labeled.device, generator)
    uniform = uniform.clamp(min=torch.finfo(torch.float32).tiny)
    area = temperature * stage.area[:, :-1].clamp(min=1).log()
    area = F.pad(area, (0, 1), value=float('inf'))  # of pixels of no segment, which come last
    score = area.gather(1, stage.segment) + torch.log(-torch.log(uniform))
    position = score.topk(number, dim=1, largest=False, sorted=False).indices
    return position, labeled.gather(1, position)
