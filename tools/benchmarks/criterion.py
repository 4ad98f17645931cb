"""The criterion beside the same losses on one-hot masks, as deeplab2 and kmax-deeplab hold them.

Forward and backward of one final stage on equal predictions, targets and sampling noise; compared
are all losses and the gradients of the prediction.
"""

import argparse

import numpy as np
import torch
from cmt_deeplab.criterion import PanopticCriterion
from cmt_deeplab.structures import MaskPrediction, PanopticTarget
from harness import Subject
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5
NUM_CLASSES = 133  # of COCO


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--batch', type=int, default=1, help='images')
    parser.add_argument('--size', type=int, default=161, help='side of the prediction, odd')
    parser.add_argument('--centers', type=int, default=128, help='N')
    parser.add_argument('--segments', type=int, default=30, help='K, at most N')
    parser.add_argument('--samples', type=int, default=4096, help='pixels of the instance loss')


def make_batch(args: argparse.Namespace) -> tuple[MaskPrediction, list[PanopticTarget]]:
    """Random predictions, and targets of blocks: K segments at most, a void border, areas from a
    block to a third of the plane.
    """
    generator = torch.Generator().manual_seed(0)
    side, targets = 4 * (args.size - 1) + 1, []
    for _ in range(args.batch):
        blocks = torch.randint(args.segments, [side // 32 + 1] * 2, generator=generator)
        index = blocks.repeat_interleave(32, 0).repeat_interleave(32, 1)[:side, :side]
        index[: side // 3] = 0
        index[:, -8:] = -1
        index = index.unique(return_inverse=True)[1] - 1  # every segment is there
        labels = torch.randint(NUM_CLASSES, (int(index.max()) + 1,), generator=generator)
        targets.append(PanopticTarget(index.short().to(args.device), labels.to(args.device)))
    shapes = (
        (args.centers, args.size, args.size),
        (args.centers, NUM_CLASSES + 1),
        (128, args.size, args.size),
    )
    masks, classes, features = (torch.randn(args.batch, *s, generator=generator) for s in shapes)
    tensors = (masks, classes, F.normalize(features, dim=1))
    return MaskPrediction(*(t.to(args.device).requires_grad_() for t in tensors)), targets


def one_hot_losses(
    prediction: MaskPrediction,
    targets: list[PanopticTarget],
    generators: list[torch.Generator],
    num_samples: int,
) -> dict[str, Tensor]:
    """The losses on masks (N, P) and one-hot targets (K, P), image by image."""
    losses = dict.fromkeys(('loss_pq_mask', 'loss_pq_class', 'loss_mask_id', 'loss_instance'), 0)
    for logits, class_logits, features, target, generator in zip(
        prediction.mask_logits.flatten(2),
        prediction.class_logits,
        prediction.pixel_features.flatten(2),
        targets,
        generators,
    ):
        plane = target.index[::4, ::4].flatten().long()
        one_hot = torch.stack([plane == k for k in range(len(target.labels))]).float()
        labeled = one_hot.sum(0)
        mask, log_class = logits.softmax(0), class_logits.log_softmax(-1)
        with torch.no_grad():
            cut = mask * labeled
            dice = 2 * cut @ one_hot.t() / (cut.sum(1)[:, None] + one_hot.sum(1) + EPS)  # (N, K)
            probability = log_class.exp()[:, target.labels]
            match = linear_sum_assignment((dice * probability).cpu(), maximize=True)
            centers, segments = torch.as_tensor(np.array(match), device=mask.device)
            masks, mask_weight = torch.zeros_like(mask), mask.new_zeros(len(mask))
            masks[centers] = one_hot[segments]
            mask_weight[centers] = probability[centers, segments].clamp(min=EPS)
            classes = torch.full_like(mask_weight, NUM_CLASSES, dtype=torch.long)
            classes[centers] = target.labels[segments]
            weight = (mask * (1 - labeled)).sum(1) / (mask.sum(1) + EPS)  # the share of void
            weight[centers] = dice[centers, segments]
            weight = weight.clamp(min=EPS) * torch.where(classes == NUM_CLASSES, 0.25, 0.75)
        cut = mask * labeled
        overlap = (2 * (cut * masks).sum(1) + 1) / (cut.sum(1) + masks.sum(1) + 1)
        entropy = F.cross_entropy(logits[None], masks[None], reduction='none')[0] * labeled
        class_loss = (weight * F.cross_entropy(class_logits, classes, reduction='none')).mean()
        terms = (
            3 * 0.75 * (mask_weight * (1 - overlap)).mean(),
            3 * class_loss,
            0.3 * entropy.sum() / labeled.sum(),
            instance_loss(features, masks, generator, num_samples),
        )
        losses = {name: losses[name] + term / len(targets) for name, term in zip(losses, terms)}
    return losses


def instance_loss(
    features: Tensor, masks: Tensor, generator: torch.Generator, num_samples: int
) -> Tensor:
    """Instance-wise discrimination between pixels that are drawn by the Gumbel trick."""
    area = (masks.sum(1) @ masks).clamp(min=1)  # (P,), of the pixel's segment
    uniform = torch.rand(area.shape, generator=generator).to(area.device)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float32).tiny)))
    score = 1.5 * torch.log(len(area) / area) + gumbel
    score = score.where(masks.sum(0) > 0, float('-inf'))
    chosen = score.topk(min(num_samples, len(area)), sorted=False).indices
    own, feature = masks[:, chosen], features[:, chosen]
    same = own.t() @ own
    similarity = feature.t() @ feature / 0.3
    return F.cross_entropy(similarity, same / same.sum(1, keepdim=True).clamp(min=1))


def subject(args: argparse.Namespace) -> Subject:
    prediction, targets = make_batch(args)
    losses = dict(
        pq=dict(type='PanopticPQLoss', unmatched_weight='void_share'),
        mask_id=dict(type='PanopticMaskIDLoss'),
        discrimination=dict(type='PanopticInstanceDiscriminationLoss', num_samples=args.samples),
    )
    criterion = PanopticCriterion(num_classes=NUM_CLASSES, losses=losses)

    def step(form) -> list[Tensor]:
        losses = form([torch.Generator().manual_seed(seed) for seed in range(args.batch)])
        leaves = [prediction.mask_logits, prediction.class_logits, prediction.pixel_features]
        gradients = torch.autograd.grad(sum(losses.values()), leaves)
        return [*(losses[name].detach() for name in sorted(losses)), *gradients]

    def one_hot(generators: list[torch.Generator]) -> dict[str, Tensor]:
        return one_hot_losses(prediction, targets, generators, args.samples)

    return Subject.of_steps(
        {
            'index planes': lambda: step(lambda g: criterion([prediction], targets, g)),
            'one-hot masks': lambda: step(one_hot),
        }
    )
