"""The criterion beside the same losses on one-hot masks, as deeplab2 and kmax-deeplab hold them.

Forward and backward of one final stage on equal predictions, targets and sampling noise; compared
are all losses and the gradients of the prediction.
"""

import argparse

import torch
from cmt_deeplab.criterion import PanopticCriterion
from cmt_deeplab.criterion.targets import StagePlane, sample_pixels
from cmt_deeplab.structures import MaskPrediction, PanopticTarget
from harness import Subject
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5
NUM_CLASSES = 133  # of COCO
LOSSES = ('loss_pq_mask', 'loss_pq_class', 'loss_mask_id', 'loss_instance')


def make_batch(args: argparse.Namespace) -> tuple[list[Tensor], list[PanopticTarget]]:
    """Mask logits (B, N, h, w), class logits (B, N, C+1) and features (B, 128, h, w), random, and
    targets of blocks: at most K segments, with areas from a block to a third of the plane, and a
    void border.
    """
    generator = torch.Generator().manual_seed(0)
    side, targets = 4 * (args.size - 1) + 1, []
    for _ in range(args.batch):
        blocks = torch.randint(args.segments, [side // 32 + 1] * 2, generator=generator)
        blocks[: len(blocks) // 3] = 0
        blocks[:, -1] = -1
        blocks = blocks.unique(return_inverse=True)[1] - 1  # every segment is there
        index = torch.kron(blocks, torch.ones(32, 32).long())[:side, :side].short()
        labels = torch.randint(NUM_CLASSES, (int(blocks.max()) + 1,), generator=generator)
        targets.append(PanopticTarget(index.to(args.device), labels.to(args.device)))
    number, size = args.centers, (args.size, args.size)
    shapes = (number, *size), (number, NUM_CLASSES + 1), (128, *size)
    tensors = [torch.randn(args.batch, *s, generator=generator).to(args.device) for s in shapes]
    tensors[2] = F.normalize(tensors[2], dim=1)
    return [tensor.requires_grad_() for tensor in tensors], targets


def one_hot_losses(
    logits: Tensor,
    class_logits: Tensor,
    features: Tensor,
    target: PanopticTarget,
    generator: torch.Generator,
    num_samples: int,
) -> tuple[Tensor, ...]:
    """The losses ``LOSSES`` of one image, on masks (N, P) and one-hot targets (K, P).

    Its ``logits`` are (N, P), its ``class_logits`` (N, C+1) and its ``features`` (D, P).
    """
    plane, labels = target.index[::4, ::4].flatten().long(), target.labels
    one_hot = (plane == torch.arange(len(labels), device=plane.device)[:, None]).float()
    labeled = one_hot.sum(0)
    mask = logits.softmax(0)
    cut = mask * labeled
    with torch.no_grad():
        dice = 2 * cut @ one_hot.t() / (cut.sum(1)[:, None] + one_hot.sum(1) + EPS)  # (N, K)
        probability = class_logits.softmax(-1)[:, labels]
        pairs = linear_sum_assignment((dice * probability).cpu(), maximize=True)
        centers, segments = pairs
        masks, mask_weight = torch.zeros_like(mask), mask.new_zeros(len(mask))
        masks[centers] = one_hot[segments]
        mask_weight[centers] = probability[pairs].clamp(min=EPS)
        classes = torch.full_like(mask_weight, NUM_CLASSES, dtype=torch.long)
        classes[centers] = labels[segments]
        weight = (mask * (1 - labeled)).sum(1) / (mask.sum(1) + EPS)  # the share of void
        weight[centers] = dice[pairs]
        weight = weight.clamp(min=EPS) * torch.where(classes == NUM_CLASSES, 0.25, 0.75)
        # The pixels of the instance loss: both forms draw the same.
        area = F.pad(one_hot.sum(1), (0, 1))
        stage = StagePlane(plane.where(plane >= 0, len(labels))[None], area[None])
        chosen = sample_pixels(stage, num_samples, 1.5, generator)[0][0]
    overlap = (2 * (cut * masks).sum(1) + 1) / (cut.sum(1) + masks.sum(1) + 1)
    entropy = F.cross_entropy(logits[None], masks[None], reduction='sum')  # 0 on void
    own, feature = masks[:, chosen], features[:, chosen]
    same = own.t() @ own
    similarity = feature.t() @ feature / 0.3
    return (
        3 * 0.75 * (mask_weight * (1 - overlap)).mean(),
        3 * (weight * F.cross_entropy(class_logits, classes, reduction='none')).mean(),
        0.3 * entropy / labeled.sum(),
        F.cross_entropy(similarity, same / same.sum(1, keepdim=True).clamp(min=1)),
    )


def subject(args: argparse.Namespace) -> Subject:
    leaves, targets = make_batch(args)
    config = dict(
        pq=dict(type='PanopticPQLoss', unmatched_weight='void_share'),
        mask_id=dict(type='PanopticMaskIDLoss'),
        discrimination=dict(type='PanopticInstanceDiscriminationLoss', num_samples=args.samples),
    )
    criterion = PanopticCriterion(num_classes=NUM_CLASSES, losses=config)

    def index_planes(generators: list[torch.Generator]) -> list[Tensor]:
        losses = criterion([MaskPrediction(*leaves)], targets, generators)
        return [losses[name] for name in LOSSES]

    def one_hot_masks(generators: list[torch.Generator]) -> list[Tensor]:
        masks, classes, features = leaves
        images = zip(masks.flatten(2), classes, features.flatten(2), targets, generators)
        losses = [one_hot_losses(*image, args.samples) for image in images]
        return [sum(terms) / len(terms) for terms in zip(*losses)]

    def step(form) -> list[Tensor]:
        losses = form([torch.Generator().manual_seed(seed) for seed in range(args.batch)])
        return [*(loss.detach() for loss in losses), *torch.autograd.grad(sum(losses), leaves)]

    return Subject.of_steps(
        {'index planes': lambda: step(index_planes), 'one-hot masks': lambda: step(one_hot_masks)}
    )
