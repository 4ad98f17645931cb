"""Panoptic copy-paste: segments of a second image over the first [kMaX-DeepLab, section 4]."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import PADDING_INDEX

from .base_transform import PanopticTransform
from .index_plane import present_segments, renumber
from .spatial import PanopticLargeScaleJitter

PADDING_GRAY = 128  # about 0 after normalization, as the padding of the data preprocessor


def merge_segments(
    segments: Sequence[dict], others: Sequence[dict], chosen: np.ndarray
) -> tuple[list[dict], np.ndarray]:
    """All segments after the paste, and the index among them of each segment of the second image.

    The index is -1 for a segment that is not ``chosen`` (K2,). A stuff class stays one segment:
    pasted stuff joins the stuff of its class.
    """
    merged = list(segments)
    stuff = {
        s['label']: k for k, s in enumerate(merged) if not (s['of_thing_class'] or s['is_crowd'])
    }
    numbers = np.full(len(others), -1, np.int16)
    for k in np.flatnonzero(chosen):
        numbers[k] = len(merged)
        if not others[k]['of_thing_class']:
            numbers[k] = stuff.setdefault(others[k]['label'], len(merged))
        if numbers[k] == len(merged):
            merged.append(others[k])
    return merged, numbers


@TRANSFORMS.register_module()
class PanopticCopyPaste(PanopticTransform):
    """Paste segments of a random other image at their own places, as in kmax-deeplab and deeplab2.

    All things are pasted and a random part of the other segments, of which a uniform number from
    none to all is drawn. Crowds are never pasted, as in kmax-deeplab. The two images share their
    top left corners; where neither of them lies, the result is padding.

    The other image is drawn from the data set in ``results['dataset']``, which
    ``PanopticIndexDataset`` puts there in training. It goes through ``pipeline``, which may be the
    one of the first image: the scale range of its ``PanopticLargeScaleJitter`` is multiplied by
    ``partner_scale``. An image is pasted on with probability ``prob``. With ``bounded`` no image
    gets more segments by it than the fullest one of the data set has, which tells how many cluster
    centers are needed: where there is less room, a random part of the segments is pasted.

    Raises:
        UserError: there is no such data set, one of the images has no index plane, or their
            numbers are of different types.
    """

    def __init__(
        self,
        *,
        pipeline: Sequence[dict],
        prob: float = 1.0,
        partner_scale: float = 0.5,
        bounded: bool = False,
    ) -> None:
        self.pipeline = Compose(pipeline)
        self.prob = prob
        self.bounded = bounded
        self.partner_scale = partner_scale
        for transform in self.pipeline.transforms:
            if isinstance(transform, PanopticLargeScaleJitter):
                low, high = transform.scale_range
                transform.scale_range = (low * partner_scale, high * partner_scale)

    @cache_randomness
    def _partner(self, number: int) -> int:
        """Index of the other image, -1 for no paste."""
        return int(np.random.randint(number)) if np.random.rand() < self.prob else -1

    @cache_randomness
    def _choose(self, plane: np.ndarray, segments: Sequence[dict]) -> np.ndarray:
        """Which segments of the other image are pasted, (K2,) bool."""
        flags = [(s['is_crowd'], s['of_thing_class']) for s in segments]
        is_crowd, of_thing = np.array(flags, bool).reshape(-1, 2).T
        allowed = present_segments(plane, len(segments)) & ~is_crowd
        order = np.random.permutation(np.flatnonzero(allowed))
        chosen = allowed & of_thing
        chosen[order[: np.random.randint(len(order) + 1)]] = True
        return chosen

    @cache_randomness
    def _fitting(self, chosen: np.ndarray, room: int) -> np.ndarray:
        """``chosen``, or ``room`` of them at random if they are more."""
        if chosen.sum() > room:
            kept = np.random.permutation(np.flatnonzero(chosen))[: max(room, 0)]
            chosen = np.isin(np.arange(len(chosen)), kept)
        return chosen

    def transform(self, results: dict) -> dict | None:
        dataset = results.get('dataset')
        if dataset is None:
            raise UserError(
                'PanopticCopyPaste finds no data set to take a second image from: train with the '
                'type PanopticIndexDataset.'
            )
        partner = self._partner(len(dataset))
        if partner < 0:
            return results
        other = self.pipeline(dataset.get_data_info(partner))
        if other is None:  # the data set takes another image
            return None
        self.require_plane(results, other)
        kinds = [(each['img'].dtype, each['img'].shape[2:]) for each in (results, other)]
        if kinds[0] != kinds[1]:
            raise UserError(
                f'PanopticCopyPaste mixes images of {kinds[0][0]} and {kinds[1][0]}, or of unlike '
                'channels: load both alike, and let a transform that changes the type of one, such '
                'as PhotoMetricDistortion, stand in both pipelines or after it.'
            )
        plane, segments = other['gt_index_map'], other['gt_segments_info']
        chosen = self._choose(plane, segments)
        if self.bounded:
            present = present_segments(results['gt_index_map'], len(results['gt_segments_info']))
            chosen = self._fitting(chosen, dataset.most_segments - int(present.sum()))
        merged, numbers = merge_segments(results['gt_segments_info'], segments, chosen)
        if not chosen.any():
            return results
        pasted = renumber(plane, numbers)
        results['img'] = _paste(results['img'], other['img'], pasted >= 0, PADDING_GRAY)
        results['gt_index_map'] = _paste(
            results['gt_index_map'], pasted, pasted >= 0, PADDING_INDEX
        )
        results['img_shape'] = results['gt_index_map'].shape
        results['gt_segments_info'] = merged
        return results


def _paste(under: np.ndarray, over: np.ndarray, mask: np.ndarray, blank: int) -> np.ndarray:
    """A new array with ``over`` where ``mask`` is set, both as large as ``over``, on ``under``.

    It is large enough for both; what neither of them covers is ``blank``.
    """
    size = np.maximum(under.shape[:2], over.shape[:2])
    result = np.full((*size, *under.shape[2:]), blank, under.dtype)
    result[: under.shape[0], : under.shape[1]] = under
    cv2.copyTo(over, mask.astype(np.uint8), result[: over.shape[0], : over.shape[1]])
    return result
