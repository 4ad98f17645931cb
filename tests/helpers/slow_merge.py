"""The merges as one would write them first: every mask at full size, one loop over the centers."""

import numpy as np
import torch
from torch.nn import functional as F


def slow_resize(logits, *, input_size, image_size, output_size, align_corners, two_step=False):
    """(N, h, w) to (N, H_o, W_o): each output pixel sampled, or two resizes as in kmax-deeplab."""
    if two_step:
        full = F.interpolate(
            logits[None], size=input_size, mode='bilinear', align_corners=align_corners
        )
        return F.interpolate(
            full[:, :, : image_size[0], : image_size[1]],
            size=output_size,
            mode='bilinear',
            align_corners=align_corners,
        )[0]
    positions = []
    for grid, padded, image, output in zip(logits.shape[1:], input_size, image_size, output_size):
        pixel = [min(max((i + 0.5) * image / output - 0.5, 0), image - 1) for i in range(output)]
        place = [
            x * (grid - 1) / (padded - 1) if align_corners else (x + 0.5) * grid / padded - 0.5
            for x in pixel
        ]
        positions.append(
            torch.tensor([min(max(x, 0), grid - 1) / (grid - 1) * 2 - 1 for x in place])
        )
    field = torch.stack(torch.meshgrid(*positions, indexing='ij')[::-1], -1)[None]
    return F.grid_sample(logits[None], field, mode='bilinear', align_corners=True)[0]


def slow_assemble(masks, labels, scores, order, output_size, num_things, num_classes, areas):
    """Pasted full masks -> (map, {value: (label, area)}), small segments dropped."""
    picture = torch.full(output_size, num_classes, dtype=torch.int32)
    instance, found = 0, {}
    done = set()
    for n in order:
        label = int(labels[n])
        if label < num_things:
            mask = masks[n]
        elif label in done:
            continue
        else:
            done.add(label)
            mask = torch.stack([masks[m] for m in order if int(labels[m]) == label]).any(0)
        if mask.sum() == 0 or mask.sum() < areas[label >= num_things]:
            continue
        instance += label < num_things
        value = label + 1000 * instance * (label < num_things)
        picture[mask] = value
        found[value] = (label, int(mask.sum()), float(scores[n]))
    return picture, found


def slow_mask_wise(
    logits,
    class_logits,
    *,
    num_things,
    num_classes,
    pixel=0.4,
    thing=0.7,
    stuff=0.5,
    overlap=0.8,
    areas=(0, 0),
    strict=False,
    score_at_stride=False,
    two_step=False,
    mask_weight=1.0,
    **sizes,
):
    confidence, labels = class_logits.softmax(-1)[:, :-1].max(-1)
    probability = slow_resize(logits, two_step=two_step, **sizes).softmax(0)
    scored = logits.softmax(0) if score_at_stride else probability
    held = scored > pixel
    mean = (scored * held).flatten(1).double().sum(1) / held.flatten(1).sum(1).clamp(min=1)
    scores = confidence * mean.float() ** mask_weight
    taken = torch.zeros(sizes['output_size'], dtype=torch.bool)
    masks, order = {}, []
    for n in torch.argsort(-scores, stable=True).tolist():
        limit = thing if labels[n] < num_things else stuff
        mask = probability[n] > pixel
        free = mask & ~taken
        if (
            not (confidence[n] > limit if strict else confidence[n] >= limit)
            or not free.sum() > mask.sum() * overlap
        ):
            continue
        masks[n] = free
        taken |= free
        order.append(n)
    return slow_assemble(
        masks, labels, scores, order, sizes['output_size'], num_things, num_classes, areas
    )


def slow_pixel_wise(
    logits,
    class_logits,
    *,
    num_things,
    num_classes,
    pixel=0.4,
    threshold=0.7,
    areas=(0, 0),
    two_step=False,
    **sizes,
):
    confidence, labels = class_logits.softmax(-1)[:, :-1].max(-1)
    kept = confidence >= threshold
    resized = slow_resize(logits, two_step=two_step, **sizes)
    among_kept = torch.where(kept[:, None, None], resized, torch.tensor(-99999.0))
    probability, choice = among_kept.softmax(0).max(0)
    sure = (
        (probability > pixel)
        & (resized.max(0).values == among_kept.max(0).values)
        & bool(kept.any())
    )
    masks = {n: sure & (choice == n) for n in range(len(logits)) if kept[n]}
    order = [n for n in masks if masks[n].any()]
    own = among_kept.softmax(0)
    scores = {n: float(confidence[n]) * float(own[n][masks[n]].mean()) for n in order}
    order.sort(key=lambda n: -scores[n])
    return slow_assemble(
        masks, labels, scores, order, sizes['output_size'], num_things, num_classes, areas
    )


def random_centers(seed, num_centers=40, grid=(21, 27), num_classes=7, sharp=4.0, sure=6.0):
    """Mask logits with blobs that compete, class logits of which about half are confident."""
    generator = torch.Generator().manual_seed(seed)
    coarse = (
        torch.randn(1, num_centers, grid[0] // 4 + 1, grid[1] // 4 + 1, generator=generator) * sharp
    )
    logits = F.interpolate(coarse, size=grid, mode='bilinear')[0] + 0.3 * torch.randn(
        num_centers, *grid, generator=generator
    )
    classes = torch.randn(num_centers, num_classes + 1, generator=generator) * sure
    return logits, classes


def same_partition(picture, expected):
    """Whether two maps agree up to the numbering of instances."""
    pairs = np.unique(np.stack([picture.numpy().ravel(), expected.numpy().ravel()]), axis=1)
    one_to_one = len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))
    return one_to_one and bool(np.all(pairs[0] % 1000 == pairs[1] % 1000))
