"""The bootstrap: how much the PQ of one model, or the difference of two, depends on the images.

Images are drawn with replacement, as many as there are, and PQ is computed again from the counts of
the drawn ones (Efron, Bootstrap Methods, 1979). Both models see the same draws, so the interval of
their difference is narrower than that of each model.

A draw often lacks the only images with matches of a rare class. So PQ of the draws lies below PQ of
the images, just as that lies below PQ of many more images. The interval of a model is therefore the
basic one (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 5.2), which
mirrors the draws at the PQ of the images. It is still too narrow if many classes occur in a few
images only, because no draw can tell how such a class varies; :func:`rare_classes` counts them. In
the difference of two models this cancels out, and the quantiles of the draws are taken as they are.
docs/looking.md has the measured coverages. This module imports neither torch nor mmdet.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cmt_deeplab.remarks import ImageScore

NUM_DRAWS = 1000
FEW_IMAGES = 5
GROUPS = {'All': (True, False), 'Things': (True,), 'Stuff': (False,)}


def count_array(images: Sequence[ImageScore], categories: Sequence[int]) -> np.ndarray:
    """The counts of each image and category: sum of IoU, TP, FP, FN, (N, C, 4)."""
    counts = [[image.counts.get(c, [0.0] * 4) for c in categories] for image in images]
    return np.reshape(counts, (len(images), len(categories), 4))


def drawn_pq(counts: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """PQ (B,) of each draw; ``draws`` (B, N) says how often an image is in it."""
    iou, tp, fp, fn = np.moveaxis(np.tensordot(draws, counts, 1), -1, 0)
    weight = tp + (fp + fn) / 2  # (B, C), 0 for a class that does not occur
    pq = iou / np.maximum(weight, 0.5)
    return pq.sum(axis=1) / np.maximum((weight > 0).sum(axis=1), 1)


def rare_classes(images: Sequence[ImageScore], categories: Sequence[int]) -> tuple[int, int]:
    """How many classes occur in fewer than ``FEW_IMAGES`` images, and how many occur at all."""
    number = count_array(images, categories).any(axis=2).sum(axis=0)
    return int(np.sum((0 < number) & (number < FEW_IMAGES))), int(np.sum(number > 0))


def bootstrap(
    models: Sequence[Sequence[ImageScore]],
    categories: Mapping[int, bool],
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> dict[str, dict]:
    """95 % intervals of PQ, as fractions, for one model or for two and their difference.

    The images of the models are the same in the same order. The keys are All, Things and Stuff;
    each value has the ``intervals`` (low, high) of the models and, where there are two, the
    ``difference`` of the second to the first, its ``interval``, and the share ``better`` of draws
    in which the second has the higher PQ.
    """
    number = len(models[0])
    draws = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), num_draws)
    draws = np.vstack([np.ones(number), draws])  # the first are the images themselves

    def interval(values: np.ndarray) -> np.ndarray:
        return np.quantile(values[1:], (0.025, 0.975))

    found = {}
    for group, kinds in GROUPS.items():
        chosen = [c for c, is_thing in categories.items() if is_thing in kinds]
        quality = [drawn_pq(count_array(images, chosen), draws) for images in models]
        basic = [2 * values[0] - interval(values)[::-1] for values in quality]
        found[group] = dict(intervals=[ends.clip(0, 1).tolist() for ends in basic])
        if len(models) == 2:
            gain = quality[1] - quality[0]
            found[group].update(
                difference=float(gain[0]),
                interval=interval(gain).tolist(),
                better=float(np.mean(gain[1:] > 0)),
            )
    return found
