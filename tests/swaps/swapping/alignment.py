"""Whether image and ground truth agree in the batch that a model gets."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch

from .data import IMAGE_STEP, STEP, source_planes

REACH = 2  # pixels of the source by which a resized plane may be off
PASSES = 3  # over the training images, so that random transforms fire


def batches(runner: Any, number: int) -> Iterator[tuple[np.ndarray, np.ndarray, list[int]]]:
    """Image (H, W, 3) RGB as read from the file, index plane and labels of each sample.

    The samples come from the data loader of the config, through the data preprocessor of the
    model, as in training.
    """
    loader = runner.build_dataloader(runner.cfg.train_dataloader, seed=1)
    preprocessor = getattr(runner.model, 'module', runner.model).data_preprocessor
    seen = 0
    while seen < number:
        for batch in loader:
            batch = preprocessor(batch, True)
            for image, sample in zip(batch['inputs'], batch['data_samples']):
                yield raw_image(image, preprocessor), *truth_of(sample, image.shape[-2:])
                seen += 1
            if seen >= number:
                return


def raw_image(image: torch.Tensor, preprocessor: Any) -> np.ndarray:
    """The image before it was normalized, in RGB."""
    if getattr(preprocessor, '_enable_normalize', True):
        image = image * preprocessor.std + preprocessor.mean
    turned = preprocessor._channel_conversion
    image = image if turned else image[[2, 1, 0]]
    return image.permute(1, 2, 0).cpu().numpy()


def truth_of(sample: Any, size: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """Index plane (H, W), negative where there is no segment, and the label of each index."""
    if 'gt_panoptic_seg' in sample and 'index_map' in sample.gt_panoptic_seg:
        return sample.gt_panoptic_seg.index_map[0].numpy(), sample.gt_segments.labels.tolist()
    plane, labels = np.full(size, -1), []
    if 'gt_sem_seg' in sample:
        semantic = sample.gt_sem_seg.sem_seg[0].numpy()
        for label in np.unique(semantic[semantic < 100]):
            if label >= 6:  # stuff
                plane[: semantic.shape[0], : semantic.shape[1]][semantic == label] = len(labels)
                labels.append(int(label))
    things = sample.gt_instances
    for mask, label in zip(things.masks.masks, things.labels.tolist()):
        plane[: mask.shape[0], : mask.shape[1]][mask.astype(bool)] = len(labels)
        labels.append(label)
    return plane, labels


def misplaced(runner: Any, root: Any, number: int) -> float:
    """Share of the labeled pixels whose segment is not the one that the image shows there."""
    planes, classes = source_planes(root)
    reachable = [_within_reach(plane) for plane in planes]
    wrong = labeled = 0
    for image, plane, labels in batches(runner, number):
        column, row = (np.round(image[..., k] / STEP).astype(int) for k in (0, 1))
        source = np.round((image[..., 2] - IMAGE_STEP // 2) / IMAGE_STEP).astype(int)
        labeled += int((plane >= 0).sum())
        known = (plane >= 0) & (source >= 0) & (source < len(planes))
        for k, label in enumerate(labels):
            own = known & (plane == k)
            right = 0
            for n in np.unique(source[own]):  # stuff may come from several images
                y, x = row[own & (source == n)], column[own & (source == n)]
                height, width = planes[n].shape
                inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
                y, x = y[inside], x[inside]
                candidates = [s for s, category in classes[n].items() if category == label]
                right += max((int(reachable[n][s][y, x].sum()) for s in candidates), default=0)
            wrong += int((plane == k).sum()) - right
    return wrong / max(labeled, 1) if labeled else 1.0


def _within_reach(plane: np.ndarray) -> dict[int, np.ndarray]:
    kernel = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    return {
        int(segment): cv2.dilate((plane == segment).astype(np.uint8), kernel).astype(bool)
        for segment in np.unique(plane)
    }


def mixed(runner: Any, number: int) -> float:
    """Variance of the color within segments over the total variance, away from borders."""
    within = total = 0.0
    for image, plane, labels in batches(runner, number):
        edges = cv2.morphologyEx(
            plane.astype(np.int16), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)
        )
        inside = (plane >= 0) & (edges == 0)
        if not inside.any():
            continue
        total += ((image[inside] - image[inside].mean(0)) ** 2).sum()
        for k in range(len(labels)):
            pixels = image[inside & (plane == k)]
            if len(pixels):
                within += ((pixels - pixels.mean(0)) ** 2).sum()
    return within / total if total else 1.0
