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

from .targets import Generators, SegmentPlanes, StagePlane, computed_once, segment_sum

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
    ) -> tuple[Tensor, ...]:
        mask = at_least_fp32(logits).log_softmax(-2)  # (S, B, N, P)
        own = mask.gather(-2, center.clamp(min=0)[..., None, :])  # (S, B, 1, P)
        matched = (center >= 0)[..., None, :]
        log_own = own.masked_fill(~matched, 0).sum((-2, -1))
        inter = segment_sum(own.exp_(), bucket, num_segments)[..., 0, :]
        kept = (mask.exp_() @ matched.to(mask).mT)[..., 0]
        ctx.save_for_backward(logits, center, segment, own)
        return inter, kept, log_own

    @staticmethod
    @once_differentiable
    def backward(ctx, inter_grad: Tensor, kept_grad: Tensor, log_grad: Tensor) -> tuple:
        logits, center, segment, own = ctx.saved_tensors
        mask = at_least_fp32(logits).softmax(-2)
        matched = (center >= 0).to(mask)[..., None, :]  # (S, B, 1, P)
        # Of the logarithm of the mask of each pixel's own center.
        own_grad = own * inter_grad.gather(-1, segment.expand_as(center))[..., None, :]
        own_grad += log_grad[..., None, None]
        own_grad *= matched
        inner = matched * (kept_grad[..., None, :] @ mask) + own_grad
        mask *= torch.addcmul(-inner, kept_grad[..., None], matched)
        mask.scatter_add_(-2, center.clamp(min=0)[..., None, :], own_grad)
        return mask.to(logits), None, None, None, None


@dataclass(frozen=True)
class LossInput:
    """What a loss reads of one stage, or of the S stages that it computes together.

    A loss of one stage reads ``prediction`` and ``stage``. A loss of several has tensors with the
    stages before the images, (S, B, ...), also where S is 1, with which those of the ground truth
    are broadcast; so are those of the match, which all stages share.
    """

    predictions: Sequence[MaskPrediction | Tensor]  # Tensor: semantic logits (B, C+1, h, w)
    planes: SegmentPlanes  # the ground truth of the batch
    match: MatchResult | None  # None if the loss does not read it
    generator: Generators

    @property
    def prediction(self) -> MaskPrediction | Tensor:
        return self.predictions[0]

    @computed_once
    def stage(self) -> StagePlane:
        """The ground truth at the size of the prediction."""
        return self.planes.at(getattr(self.prediction, 'mask_logits', self.prediction))

    def stacked(self, name: str) -> Tensor:
        """(S, B, ...): the tensor of this name of all predictions."""
        return stack([getattr(one, name) for one in self.predictions])

    @computed_once
    def area(self) -> Tensor:
        """(S, B, K+1) float32: the pixels of each segment at the size of the prediction."""
        return stack([self.planes.at(one.mask_logits).area for one in self.predictions])

    @computed_once
    def centers(self) -> Tensor:
        """(S, B, K+1) int64: the center of each segment that has a pixel, and -1 for all others."""
        return torch.where(self.area > 0, self.match.centers, -1)

    @computed_once
    def mask_sums(self) -> tuple[Tensor, ...]:
        """Sums over the masks (S, B, N, P), a softmax of the mask logits over the centers.

        These are, over the pixels of each segment, (S, B, K+1), the mask of the segment's center,
        which means nothing where it has none; over the pixels of matched segments each mask,
        (S, B, N), and the logarithm (S, B) of the mask of each pixel's own center.
        """
        sums = []
        for numbers in equal_stages(self.predictions, 'mask_logits'):
            masks = [self.predictions[i].mask_logits for i in numbers]
            stage, centers = self.planes.at(masks[0]), self.centers[numbers[0] : numbers[-1] + 1]
            center = centers.gather(-1, stage.segment.expand(len(masks), -1, -1))  # (S, B, P)
            planes = center, stage.segment, stage.bucket, stage.num_segments
            sums.append(_MaskSums.apply(stack(masks).flatten(-2), *planes))
        return tuple(tensors[0] if len(sums) == 1 else torch.cat(tensors) for tensors in zip(*sums))


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """``torch.stack``, without a copy of a single tensor."""
    return torch.stack(tensors) if len(tensors) > 1 else tensors[0][None]


def equal_stages(predictions: Sequence[MaskPrediction], name: str) -> list[list[int]]:
    """Numbers of neighboring stages whose tensors of this name have equal shapes.

    Together these have no more than :func:`numbers_at_once` numbers, unless it is a single stage.
    Stages without such a tensor are left out.
    """
    groups: list[list[int]] = []
    last = None
    for number, one in enumerate(predictions):
        tensor = getattr(one, name)
        if tensor is None:
            continue
        form = tensor.shape, tensor.dtype
        if form == last and len(groups[-1]) < numbers_at_once(tensor.device) // tensor.numel():
            groups[-1].append(number)
        else:
            groups.append([number])
        last = form
    return groups


def _uniform(shape: Sequence[int], device: torch.device, generator: Generators) -> Tensor:
    """(..., B, P) uniform numbers in [0, 1), drawn by one generator, or by one per image."""
    if generator is None or isinstance(generator, torch.Generator):
        source = device if generator is None else generator.device
        return torch.rand(shape, generator=generator, device=source).to(device)
    *stages, batch, pixels = shape
    if len(generator) != batch:
        raise UserError(
            f'{len(generator)} generators were given for a batch of {batch} images: give one '
            'for each, or a single one.'
        )
    return torch.stack([_uniform((*stages, pixels), device, own) for own in generator], -2)


@torch.no_grad()
def sample_pixels(
    stage: StagePlane,
    number: int | None,
    temperature: float,
    generator: Generators = None,
    *,
    stages: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Draw labeled pixels of each image without replacement, favoring small segments.

    This is a Gumbel top-k over the labeled pixels with the logits
    ``-temperature * log(area of the pixel's own segment)``, as in deeplab2. An image with fewer
    labeled pixels than are drawn gives all of them, and the rest is marked as not valid, so shapes
    never depend on the data. If ``number`` is None or not below P, all pixels are taken. With
    ``stages=(S,)`` each of S stages draws its own pixels.

    Returns:
        Positions (B, k) int64 with k = min(number, P), and whether they are labeled, (B, k) bool;
        with ``stages`` (S, B, k).
    """
    labeled = stage.labeled.expand(*stages, -1, -1)
    pixels = labeled.shape[-1]
    if number is None or pixels <= number:
        return torch.arange(pixels, device=labeled.device).expand_as(labeled), labeled
    # The logarithms need numbers inside of (0, 1). fp32 never draws 1, and 0 is moved.
    uniform = _uniform(labeled.shape, labeled.device, generator)
    uniform = uniform.clamp(min=torch.finfo(torch.float32).tiny)
    area = temperature * stage.area[:, :-1].clamp(min=1).log()
    area = F.pad(area, (0, 1), value=float('inf'))  # of pixels of no segment, which come last
    score = area.gather(1, stage.segment) + torch.log(-torch.log(uniform))
    position = score.topk(number, largest=False, sorted=False).indices
    return position, labeled.gather(-1, position)
