"""Slow, obvious versions of the criterion: loops over images, segments and pixels, one-hot masks, the formulas as they are printed."""

import itertools

import torch
from cmt_deeplab.structures import MaskPrediction, PanopticTarget
from torch.nn import functional as F


def make_target(num_segments, size=(17, 17), num_classes=6, seed=0, void=True, padding=False):
    """A blocky plane whose segments are small rectangles or scattered pixels, every one of them labeled."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.full(size, -1, dtype=torch.int16)
    if num_segments:
        index = torch.randint(0, num_segments, size, generator=generator).to(torch.int16)
        half = size[0] // 2
        index[:half, :half] = int(torch.randint(0, num_segments, (), generator=generator))
    if void:
        index[2:6, -5:] = -1
    if padding:
        index[-3:] = -2
        index[:, -2:] = -2
    return PanopticTarget(
        index=index, labels=torch.randint(0, num_classes, (num_segments,), generator=generator)
    )


def make_prediction(
    batch=2,
    num_slots=5,
    size=(9, 9),
    num_classes=6,
    seed=0,
    scale=2.0,
    dtype=torch.float32,
    depth=128,
    points=True,
):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return MaskPrediction(
        mask_logits=(scale * draw(batch, num_slots, *size)).requires_grad_(),
        class_logits=draw(batch, num_slots, num_classes + 1).requires_grad_(),
        pixel_features=F.normalize(draw(batch, depth, *size), dim=1).requires_grad_(),
        reference_points=draw(batch, num_slots, 5, 2).sigmoid().detach().requires_grad_()
        if points
        else None,
    )


def one_image(prediction, image):
    return MaskPrediction(
        *(None if t is None else t[image : image + 1] for t in vars(prediction).values())
    )


def small_plane(index, size):
    height, h = index.shape[0], size[0]
    stride = 1 if height == h else (height - 1) // (h - 1) if height % 2 else height // h
    start = 0 if height % 2 else stride // 2
    return index[start::stride, start::stride]


def one_hot_masks(target, size):
    """(K, P) masks, (P,) labeled, (P,) void, at the size of a prediction."""
    plane = small_plane(target.index, size).flatten()
    masks = (
        torch.stack([plane == k for k in range(len(target.labels))])
        if len(target.labels)
        else torch.zeros(0, len(plane)).bool()
    )
    return masks.double(), plane >= 0, plane == -1


def similarity(mask_logits, class_logits, target):
    masks, labeled, _ = one_hot_masks(target, mask_logits.shape[-2:])
    predicted = mask_logits.double().flatten(1).softmax(0) * labeled
    probability = class_logits.double().softmax(-1)
    result = torch.zeros(len(predicted), len(masks), dtype=torch.float64)
    for n, k in itertools.product(range(len(predicted)), range(len(masks))):
        dice = 2 * (predicted[n] * masks[k]).sum() / (predicted[n].sum() + masks[k].sum() + 1e-5)
        result[n, k] = probability[n, target.labels[k]] * dice
    return result


def pairs_of(match, image, target, size):
    """Matched (slot, segment) pairs whose segment still has a pixel."""
    masks, _, _ = one_hot_masks(target, size)
    return [
        (n, k)
        for n, k in zip(match.slots[image].tolist(), match.segments[image].tolist())
        if masks[k].sum() > 0
    ]


def pq_loss(mask_logits, class_logits, target, pairs, unmatched_weight, matched=None):
    """``matched``: mask and class logits of the prediction that gives the weights, the same by default."""
    weigh_mask, weigh_class = (mask_logits, class_logits) if matched is None else matched
    weigh_masks, weigh_labeled, weigh_void = one_hot_masks(target, weigh_mask.shape[-2:])
    weigh = weigh_mask.detach().double().flatten(1).softmax(0)
    weigh_probability = weigh_class.detach().double().softmax(-1)
    masks, labeled, _ = one_hot_masks(target, mask_logits.shape[-2:])
    predicted = mask_logits.double().flatten(1).softmax(0)
    log_probability = class_logits.double().log_softmax(-1)
    kept = torch.zeros_like(labeled, dtype=torch.float64)
    for _, k in pairs:
        kept = kept + masks[k]
    number = len(predicted)
    mask_term, terms = predicted.sum() * 0, []
    slot_to_segment = dict(pairs)
    for n in range(number):
        if n in slot_to_segment:
            k = slot_to_segment[n]
            cut = predicted[n] * kept
            dice_1 = (2 * (cut * masks[k]).sum() + 1) / (cut.sum() + masks[k].sum() + 1)
            mask_term = mask_term + weigh_probability[n, target.labels[k]].clamp(min=1e-5) * (
                1 - dice_1
            )
            whole = weigh[n] * weigh_labeled
            dice = 2 * (whole * weigh_masks[k]).sum() / (whole.sum() + weigh_masks[k].sum() + 1e-5)
            terms.append(0.75 * dice.clamp(min=1e-5) * -log_probability[n, target.labels[k]])
        else:
            weight = (
                torch.tensor(1.0)
                if unmatched_weight == 'one'
                else ((weigh[n] * weigh_void).sum() / (weigh[n].sum() + 1e-5)).clamp(min=1e-5)
            )
            terms.append(0.25 * weight * -log_probability[n, -1])
    terms = torch.stack(terms)
    return 0.75 / number * mask_term, terms.sum() / max(int((terms != 0).sum()), 1)


def mask_id_loss(mask_logits, target, pairs):
    masks, _, _ = one_hot_masks(target, mask_logits.shape[-2:])
    log_probability = mask_logits.double().flatten(1).log_softmax(0)
    losses = [
        -log_probability[n, p] for n, k in pairs for p in masks[k].nonzero().flatten().tolist()
    ]
    return torch.stack(losses).mean() if losses else mask_logits.sum() * 0


def instance_loss(features, target, temperature=0.3, chosen=None):
    """``chosen``: positions of the sampled pixels, all labeled ones by default."""
    masks, labeled, _ = one_hot_masks(target, features.shape[-2:])
    chosen = labeled.nonzero().flatten() if chosen is None else chosen
    if not len(chosen):
        return features.sum() * 0
    f = features.double().flatten(1)[:, chosen]
    s = f.t() @ f / temperature
    same = masks[:, chosen].t() @ masks[:, chosen]
    goal = same / same.sum(1, keepdim=True)
    return -(goal * s.log_softmax(1)).sum(1).mean()


def mask_discrimination_loss(features, target, num_things_classes=None, temperature=0.3):
    masks, _, _ = one_hot_masks(target, features.shape[-2:])
    f = features.double().flatten(1)
    alive = [k for k in range(len(masks)) if masks[k].sum() > 0]
    if not alive:
        return features.sum() * 0
    means = torch.stack(
        [F.normalize((f * masks[k]).sum(1) / masks[k].sum(), dim=0, eps=1e-6) for k in alive]
    )
    log_probability = (means @ f / temperature).log_softmax(0)
    losses = [
        -log_probability[row, p]
        for row, k in enumerate(alive)
        for p in masks[k].nonzero().flatten().tolist()
        if num_things_classes is None or target.labels[k] < num_things_classes
    ]
    return torch.stack(losses).mean() if losses else features.sum() * 0


def semantic_loss(logits, target, void_first=False, chosen=None):
    plane = small_plane(target.index, logits.shape[-2:]).flatten()
    log_probability = logits.double().flatten(1).log_softmax(0)
    chosen = (plane >= 0).nonzero().flatten() if chosen is None else chosen
    losses = [
        -log_probability[target.labels[plane[p].long()] + int(void_first), p]
        for p in chosen.tolist()
    ]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def reference_points(index, num_segments):
    height, width = index.shape

    def place(i, j):
        x = j / (width - 1) if width % 2 else (j + 0.5) / width
        y = i / (height - 1) if height % 2 else (i + 0.5) / height
        return torch.stack([x.mean(), y.mean()])

    result = torch.zeros(num_segments, 5, 2, dtype=torch.float64)
    for k in range(num_segments):
        i, j = (index == k).nonzero().double().unbind(1)
        if len(i):
            picks = [i == i, i == i.min(), j == j.min(), i == i.max(), j == j.max()]
            result[k] = torch.stack([place(i[pick], j[pick]) for pick in picks])
    return result


def reference_point_loss(points, target, pairs):
    goal = reference_points(target.index, len(target.labels))
    losses = [(points[n].double() - goal[k]).abs().mean() for n, k in pairs]
    return torch.stack(losses).mean() if losses else points.sum() * 0
