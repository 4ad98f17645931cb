"""Panoptic copy-paste: segments of a second image over the first [kMaX-DeepLab]."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from cmt_deeplab.errors import UserError

from .index_plane import MAX_SEGMENTS, present_segments, renumber


def paste_numbers(
    segments: Sequence[dict], others: Sequence[dict], chosen: np.ndarray
) -> tuple[np.ndarray, list[dict]]:
    """New index of each segment of the second image (K2,), -1 where it is not chosen, and the list of all segments.

    A stuff class stays one segment: pasted stuff joins stuff of its class.
    """
    merged = list(segments)
    stuff = {s['label']: k for k, s in enumerate(merged) if not s['is_thing'] and not s['is_crowd']}
    numbers = np.full(len(others), -1, np.int16)
    for k, other in enumerate(others):
        if not chosen[k]:
            continue
        if other['is_thing'] or other['label'] not in stuff:
            numbers[k] = len(merged)
            merged.append(other)
            if not other['is_thing']:
                stuff[other['label']] = int(numbers[k])
        else:
            numbers[k] = stuff[other['label']]
    return numbers, merged


@TRANSFORMS.register_module()
class PanopticCopyPaste(BaseTransform):
    """With probability ``prob`` paste random segments (each with probability ``segment_prob``, at least one, never a crowd) of a random
    other image, which has gone through ``pipeline``, at their own places; what lies outside this image is cut off.

    The other image comes from the data set in ``results['dataset']``, which ``PanopticIndexDataset`` puts there in training.

    Raises:
        ValueError: if there is no such data set, or ``pipeline`` loads no index plane.
    """

    def __init__(
        self, *, pipeline: Sequence[dict], prob: float = 0.5, segment_prob: float = 0.5
    ) -> None:
        self.pipeline = Compose(pipeline)
        self.prob = prob
        self.segment_prob = segment_prob

    @cache_randomness
    def _partner(self, number: int) -> int:
        """Index of the other image, -1 for no paste."""
        return int(np.random.randint(number)) if np.random.rand() < self.prob else -1

    @cache_randomness
    def _choose(self, allowed: np.ndarray) -> np.ndarray:
        chosen = allowed & (np.random.rand(len(allowed)) < self.segment_prob)
        if allowed.any() and not chosen.any():
            chosen[np.random.choice(np.flatnonzero(allowed))] = True
        return chosen

    def transform(self, results: dict) -> dict:
        dataset = results.get('dataset')
        if dataset is None:
            raise UserError(
                'PanopticCopyPaste finds no data set to take a second image from: train with the type PanopticIndexDataset.'
            )
        partner = self._partner(len(dataset))
        if partner < 0:
            return results
        other = self.pipeline(dataset.get_data_info(partner))
        if 'gt_index_map' not in other or 'gt_index_map' not in results:
            raise UserError(
                'PanopticCopyPaste needs index planes: put LoadPanopticIndexMap before it and into its pipeline.'
            )
        plane, segments = other['gt_index_map'], other['gt_segments_info']
        allowed = present_segments(plane, len(segments)) & ~np.array(
            [bool(s['is_crowd']) for s in segments], bool
        )
        numbers, merged = paste_numbers(
            results['gt_segments_info'], segments, self._choose(allowed)
        )
        if len(merged) > MAX_SEGMENTS:
            return results
        h, w = (min(a, b) for a, b in zip(plane.shape, results['gt_index_map'].shape))
        pasted = renumber(plane[:h, :w], numbers)
        over = (pasted >= 0).astype(np.uint8)
        for key, source in (('img', other['img'][:h, :w]), ('gt_index_map', pasted)):
            target = np.array(
                results[key], order='C'
            )  # the array may be a window of, or shared with, another
            target[:h, :w] = cv2.copyTo(
                np.ascontiguousarray(source), over, np.ascontiguousarray(target[:h, :w])
            )
            results[key] = target
        results['gt_segments_info'] = merged
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, segment_prob={self.segment_prob}, pipeline={self.pipeline})'
