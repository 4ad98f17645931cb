"""The criterion beside the same losses on one-hot masks, as deeplab2 and kmax-deeplab hold them.

Forward and backward of the seven outputs of a model with layers at strides 32, 16 and 8, two each,
and a final stage at stride 4, on equal predictions, targets and sampling noise; compared are the
losses of the last output and all gradients. What is retained are the bytes that the losses hold
between forward and backward beside the predictions.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence

import torch
from cmt_deeplab.criterion import PanopticCriterion
from cmt_deeplab.criterion.loss_input import sample_pixels
from cmt_deeplab.criterion.targets import StagePlane, buckets
from cmt_deeplab.structures import MaskPrediction, PanopticTarget
from harness import Subject
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5
NUM_CLASSES = 133  # of COCO
LOSSES = ('loss_pq_mask', 'loss_pq_class', 'loss_mask_id', 'loss_instance')


def make_batch(
    segments: int, *, side: int, centers: int, batch: int, strides: Sequence[int]
) -> tuple[list[Tensor], list[PanopticTarget]]:
    """Random predictions of images of ``side`` pixels, and targets of blocks.

    Of each output these are mask logits (B, N, h, w), class logits (B, N, C+1) and features
    (B, 128, h, w). There are at most K segments, with areas from a block to a third of the plane,
    and a void border.
    """
    generator, targets, tensors = torch.Generator().manual_seed(0), [], []
    for _ in range(batch):
        blocks = torch.randint(segments, [side // 32 + 1] * 2, generator=generator)
        blocks[: len(blocks) // 3] = 0
        blocks[:, -1] = -1
        blocks = blocks.unique(return_inverse=True)[1] - 1  # every segment is there
        index = torch.kron(blocks, torch.ones(32, 32).long())[:side, :side].short()
        labels = torch.randint(NUM_CLASSES, (int(blocks.max()) + 1,), generator=generator)
        targets.append(PanopticTarget(index, labels))
    for stride in strides:
        plane = [side // stride + 1] * 2
        shapes = (centers, *plane), (centers, NUM_CLASSES + 1), (128, *plane)
        output = [torch.randn(batch, *shape, generator=generator) for shape in shapes]
        tensors += [*output[:2], F.normalize(output[2], dim=1)]
    return [tensor.requires_grad_() for tensor in tensors], targets


def one_hot_plane(logits: Tensor, target: PanopticTarget) -> Tensor:
    """(K, P): the segments at the pixels of mask logits (N, P) of a square output."""
    stride = (len(target.index) - 1) // (round(logits.shape[1] ** 0.5) - 1)
    plane = target.index[::stride, ::stride].flatten()
    return (plane == torch.arange(len(target.labels))[:, None]).float()


@torch.no_grad()
def one_hot_match(
    logits: Tensor, class_logits: Tensor, _: Tensor, target: PanopticTarget
) -> tuple[Tensor, ...]:
    """Centers and segments of the pairs, their probability and Dice, the void share of masks."""
    one_hot, mask = one_hot_plane(logits, target), logits.softmax(0)
    labeled = one_hot.sum(0)
    cut = mask * labeled
    dice = 2 * cut @ one_hot.t() / (cut.sum(1)[:, None] + one_hot.sum(1) + EPS)  # (N, K)
    probability = class_logits.softmax(-1)[:, target.labels]
    pairs = tuple(map(torch.from_numpy, linear_sum_assignment(dice * probability, maximize=True)))
    void = (mask * (1 - labeled)).sum(1) / (mask.sum(1) + EPS)
    return *pairs, probability[pairs], dice[pairs], void


def one_hot_losses(
    logits: Tensor,
    class_logits: Tensor,
    features: Tensor,
    target: PanopticTarget,
    match: tuple[Tensor, ...],
    generator: torch.Generator,
    num_samples: int,
) -> list[Tensor]:
    """The losses ``LOSSES`` of one image and output, on masks (N, P) and one-hot targets (K, P).

    Its ``logits`` are (N, P), its ``class_logits`` (N, C+1) and its ``features`` (D, P). The match
    is that of the last output.
    """
    one_hot, mask = one_hot_plane(logits, target), logits.softmax(0)
    labeled, labels = one_hot.sum(0), target.labels
    cut = mask * labeled
    with torch.no_grad():
        *pairs, void = match
        present = one_hot.sum(1)[pairs[1]] > 0
        centers, segments, probability, dice = (table[present] for table in pairs)
        masks, mask_weight = torch.zeros_like(mask), mask.new_zeros(len(mask))
        masks[centers] = one_hot[segments]
        mask_weight[centers] = probability.clamp(min=EPS)
        classes = torch.full_like(mask_weight, NUM_CLASSES, dtype=torch.long)
        classes[centers] = labels[segments]
        weight = void.clone()
        weight[centers] = dice
        weight = weight.clamp(min=EPS) * torch.where(classes == NUM_CLASSES, 0.25, 0.75)
        # The pixels of the instance loss: both forms draw the same.
        segment = torch.where(labeled > 0, one_hot.argmax(0), len(labels))[None]
        stage = StagePlane(segment, buckets(segment), F.pad(one_hot.sum(1), (0, 1))[None])
        chosen, valid = sample_pixels(stage, num_samples, 1.5, generator)
        chosen = chosen[valid]
    overlap = (2 * (cut * masks).sum(1) + 1) / (cut.sum(1) + masks.sum(1) + 1)
    entropy = F.cross_entropy(logits[None], masks[None], reduction='sum')  # 0 on void
    own, feature = one_hot[:, chosen], features[:, chosen]
    same = own.t() @ own
    similarity = feature.t() @ feature / 0.3
    return [
        3 * 0.75 * (mask_weight * (1 - overlap)).mean(),
        3 * (weight * F.cross_entropy(class_logits, classes, reduction='none')).mean(),
        0.3 * entropy / masks.sum().clamp(min=1),
        F.cross_entropy(similarity, same / same.sum(1, keepdim=True).clamp(min=1)),
    ]


def our_step(
    segments: int,
    *,
    side: int = 641,
    centers: int = 192,
    samples: int = 4096,
    batch: int = 1,
    strides: Sequence[int] = (4,),
    backward: bool = True,
) -> Callable[[], list[Tensor]]:
    """Forward and backward of the criterion with so many segments in each image."""
    sizes = dict(side=side, centers=centers, batch=batch, strides=strides)
    leaves, targets = make_batch(segments, **sizes)
    outputs = [MaskPrediction(*leaves[i : i + 3]) for i in range(0, len(leaves), 3)]
    config = dict(
        pq=dict(type='PanopticPQLoss', unmatched_weight='void_share'),
        mask_id=dict(type='PanopticMaskIDLoss'),
        discrimination=dict(type='PanopticInstanceDiscriminationLoss', num_samples=samples),
    )
    criterion = PanopticCriterion(num_classes=NUM_CLASSES, losses=config)

    def step() -> list[Tensor]:
        generators = [torch.Generator().manual_seed(seed) for seed in range(batch)]
        losses = criterion(outputs, targets, generators)
        return _results([*losses.values()], leaves, backward)

    return step


def one_hot_step(
    segments: int, *, samples: int = 4096, backward: bool = True, **sizes
) -> Callable[[], list[Tensor]]:
    leaves, targets = make_batch(segments, **sizes)
    starts = range(0, len(leaves), 3)

    def step() -> list[Tensor]:
        losses = []
        for image, target in enumerate(targets):
            outputs = [[leaf[image].flatten(1) for leaf in leaves[i : i + 3]] for i in starts]
            match = one_hot_match(*outputs[-1], target)
            generator = torch.Generator().manual_seed(image)
            terms = (one_hot_losses(*one, target, match, generator, samples) for one in outputs)
            losses.append([term for one in terms for term in one])
        return _results([sum(terms) / len(terms) for terms in zip(*losses)], leaves, backward)

    return step


def _results(losses: list[Tensor], leaves: list[Tensor], backward: bool) -> list[Tensor]:
    if not backward:
        return losses
    final = [loss.detach() for loss in losses[-len(LOSSES) :]]
    return [*final, *torch.autograd.grad(sum(losses), leaves)]


def retained_mib(forward: Callable[[], list[Tensor]]) -> float:
    """What torch's allocator holds after ``forward``, while its result is there."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        losses = forward()
    events = profile.profiler.kineto_results.events()
    assert losses
    return sum(event.nbytes() for event in events if event.name() == '[memory]') / 2**20


def subjects(
    args: argparse.Namespace,
    *,
    sides: Sequence[int] = (641, 1281),
    centers: int = 128,
    segments: int = 30,
    samples: int = 4096,
    batch: int = 1,
    strides: Sequence[int] = (32, 32, 16, 16, 8, 8, 4),
) -> Iterator[Subject]:
    builders = {'index planes': our_step, 'one-hot masks': one_hot_step}
    for side in sides:
        sizes = dict(side=side, centers=centers, batch=batch, strides=strides, samples=samples)
        retained = {
            name: dict(retained_mib=retained_mib(build(segments, backward=False, **sizes)))
            for name, build in builders.items()
        }
        yield Subject.of_steps(
            {name: build(segments, **sizes) for name, build in builders.items()},
            title=f'criterion, {len(strides)} outputs of {batch} x {side}x{side}',
            runs=3,
            figures=retained,
        )
