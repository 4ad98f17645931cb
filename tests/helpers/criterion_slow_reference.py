"""Slow and obvious versions of the criterion: loops, one-hot masks, the formulas as printed."""

import itertools
from dataclasses import replace

import torch
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget
from torch.nn import functional as F


def make_target(num_segments, size=(17, 17), num_classes=6, seed=0, void=True, padding=False):
    """A plane whose segments are a block or scattered pixels, with a void corner and padding."""
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
    num_centers=5,
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
        mask_logits=(scale * draw(batch, num_centers, *size)).requires_grad_(),
        class_logits=draw(batch, num_centers, num_classes + 1).requires_grad_(),
        pixel_features=F.normalize(draw(batch, depth, *size), dim=1).requires_grad_(),
        reference_points=draw(batch, num_centers, 5, 2).sigmoid().detach().requires_grad_()
        if points
        else None,
    )


def one_image(prediction, image):
    return MaskPrediction(
        *(None if t is None else t[image : image + 1] for t in vars(prediction).values())
    )


def one_match(match, image, target):
    """The match of one image of a batch, whose own segments are all there are."""
    columns = len(target.labels) + 1
    tables = (match.centers, match.probability, match.dice)
    return MatchResult(
        *(table[image : image + 1, :columns] for table in tables),
        match.void_share[image : image + 1],
    )


def small_plane(index, size):
    height, h = index.shape[0], size[0]
    stride = 1 if height == h else (height - 1) // (h - 1) if height % 2 else height // h
    start = 0 if height % 2 else stride // 2
    return index[start::stride, start::stride]


def one_hot_masks(target, size):
    """(K, P) masks and (P,) labeled, at the size of a prediction; all other pixels are void."""
    plane = small_plane(target.index, size).flatten()
    masks = [plane == k for k in range(len(target.labels))]
    masks = torch.stack(masks) if masks else torch.zeros(0, len(plane)).bool()
    return masks.double(), plane >= 0


def similarity(mask_logits, class_logits, target):
    """Class probability and Dice of every pair, (N, K) each, and the void share of masks (N,)."""
    masks, labeled = one_hot_masks(target, mask_logits.shape[-2:])
    whole = mask_logits.detach().double().flatten(1).softmax(0)
    predicted = whole * labeled
    probability = class_logits.detach().double().softmax(-1)[:, target.labels]
    dice = torch.zeros(len(predicted), len(masks), dtype=torch.float64)
    for n, k in itertools.product(range(len(predicted)), range(len(masks))):
        inter = (predicted[n] * masks[k]).sum()
        dice[n, k] = 2 * inter / (predicted[n].sum() + masks[k].sum() + 1e-5)
    return probability, dice, (whole * ~labeled).sum(1) / (whole.sum(1) + 1e-5)


def make_match(prediction, targets, pairs):
    """The match whose (center, segment) pairs of each image are given."""
    columns = max(len(target.labels) for target in targets) + 1
    centers = torch.full((len(targets), columns), -1)
    probability, dice = torch.zeros(2, len(targets), columns)
    shares = []
    for i, (target, chosen) in enumerate(zip(targets, pairs)):
        p, d, share = similarity(prediction.mask_logits[i], prediction.class_logits[i], target)
        shares.append(share.float())
        for n, k in chosen:
            centers[i, k], probability[i, k], dice[i, k] = n, p[n, k], d[n, k]
    return MatchResult(centers, probability, dice, torch.stack(shares))


def pairs_of(match, image, target, size):
    """Matched (center, segment) pairs whose segment has a pixel at the size of a prediction."""
    masks, _ = one_hot_masks(target, size)
    return [
        (n, k) for k, n in enumerate(match.centers[image].tolist()) if n >= 0 and masks[k].sum() > 0
    ]


def pq_loss(mask_logits, class_logits, target, pairs, unmatched_weight, matched=None):
    """``matched``: mask and class logits of the matched prediction, the same ones by default."""
    matched = (mask_logits, class_logits) if matched is None else matched
    weigh_probability, weigh_dice, void_share = similarity(*matched, target)
    masks, _ = one_hot_masks(target, mask_logits.shape[-2:])
    predicted = mask_logits.double().flatten(1).softmax(0)
    log_probability = class_logits.double().log_softmax(-1)
    kept = sum((masks[k] for _, k in pairs), torch.zeros(predicted.shape[1]))
    mask_term, terms = predicted.sum() * 0, []
    segment_of = dict(pairs)
    for n in range(len(predicted)):
        if n in segment_of:
            k = segment_of[n]
            cut = predicted[n] * kept
            dice_1 = (2 * (cut * masks[k]).sum() + 1) / (cut.sum() + masks[k].sum() + 1)
            mask_term = mask_term + weigh_probability[n, k].clamp(min=1e-5) * (1 - dice_1)
            dice = weigh_dice[n, k].clamp(min=1e-5)
            terms.append(0.75 * dice * -log_probability[n, target.labels[k]])
        else:
            weight = 1 if unmatched_weight == 'one' else void_share[n].clamp(min=1e-5)
            terms.append(0.25 * weight * -log_probability[n, -1])
    terms = torch.stack(terms)
    return 0.75 / len(predicted) * mask_term, terms.sum() / max(int((terms != 0).sum()), 1)


def mask_id_loss(mask_logits, target, pairs):
    masks, _ = one_hot_masks(target, mask_logits.shape[-2:])
    log_probability = mask_logits.double().flatten(1).log_softmax(0)
    losses = [
        -log_probability[n, p] for n, k in pairs for p in masks[k].nonzero().flatten().tolist()
    ]
    return torch.stack(losses).mean() if losses else mask_logits.sum() * 0


def instance_loss(features, target, temperature=0.3, chosen=None):
    """``chosen``: positions of the sampled pixels, all labeled ones by default."""
    masks, labeled = one_hot_masks(target, features.shape[-2:])
    chosen = labeled.nonzero().flatten() if chosen is None else chosen
    if not len(chosen):
        return features.sum() * 0
    f = features.double().flatten(1)[:, chosen]
    s = f.t() @ f / temperature
    same = masks[:, chosen].t() @ masks[:, chosen]
    goal = same / same.sum(1, keepdim=True)
    return -(goal * s.log_softmax(1)).sum(1).mean()


def mask_discrimination_loss(features, target, num_things_classes=None, temperature=0.3):
    masks, _ = one_hot_masks(target, features.shape[-2:])
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


def semantic_loss(logits, target, void_first=False, chosen=None, share=1, small=None):
    """``small``: weight, largest area and number of thing classes of small instances."""
    plane = small_plane(target.index, logits.shape[-2:]).flatten().long()
    log_probability = logits.double().flatten(1).log_softmax(0)
    losses = []
    for p in range(len(plane)) if chosen is None else chosen.tolist():
        k = plane[p]
        if k < 0:
            losses.append(log_probability.sum() * 0)
            continue
        label, weight = target.labels[k], 1
        if small is not None and label < small[2] and (target.index == k).sum() < small[1]:
            weight = small[0]
        losses.append(-weight * log_probability[label + int(void_first), p])
    losses = torch.stack(losses)
    losses = losses.sort(descending=True).values[: round(share * len(losses))]
    return losses.sum() / max(int((losses != 0).sum()), 1)


def resized_prediction(prediction, size, align_corners):
    """Mask logits and features of every pixel of ``size``, from its four neighbors on the map."""

    def resize(maps):
        height, width = maps.shape[-2:]
        result = []
        for i, j in itertools.product(range(size[0]), range(size[1])):
            corners = []
            for pixel, old, new in ((i, height, size[0]), (j, width, size[1])):
                if align_corners:
                    place = pixel * (old - 1) / (new - 1)
                else:
                    place = min(max((pixel + 0.5) * old / new - 0.5, 0), old - 1)
                low = min(int(place), old - 2)
                corners.append([(low, low + 1 - place), (low + 1, place - low)])
            neighbors = [
                maps[..., y, x] * (wy * wx) for (y, wy), (x, wx) in itertools.product(*corners)
            ]
            result.append(sum(neighbors))
        return torch.stack(result, -1).unflatten(-1, size)

    return replace(
        prediction,
        mask_logits=resize(prediction.mask_logits),
        pixel_features=resize(prediction.pixel_features),
    )


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
