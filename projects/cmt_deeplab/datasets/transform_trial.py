"""Trials of one transform on made-up scenes: does the truth lie where the image lies?"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache

import numpy as np
import torch

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MMDET_VOID, PADDING_INDEX

from .coordinate_scene import NUM_SEGMENTS, Scene, differ_beside, lies_elsewhere, make_scene
from .index_map_to_masks import IndexMapToMasks
from .index_plane import renumber, resize_plane

TRIES_ON_THE_LARGE_SCENE = 8
MOST_BYTES = 12_000_000  # of all images that a transform makes of one scene
ORDERS = np.arange(NUM_SEGMENTS), np.array([3, 6, 0, 5, 2, 7, 4, 1])  # of the segments
PLANE = frozenset({'gt_index_map', 'gt_segments_info'})
MASKS = frozenset({'gt_masks', 'gt_seg_map', 'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'})

CHANGED_PLANE = 'changes the index plane'
OTHER_SEGMENTS = 'fills or interpolates with numbers of other segments in '


@cache
def scenes() -> tuple[Scene, Scene]:
    """A small scene for many tries, and one that is larger than usual crops, in height at least."""
    return make_scene(9, 11, (7, 7)), make_scene(24, 6, (88, 64))


@cache
def scene_truth(scene: Scene, which: int) -> dict:
    """All that may be known of a scene: the plane, and what ``IndexMapToMasks`` makes of it.

    The segments have another order and another label in each of the two images. So a number that
    a transform fills in, or makes of two segments, does not mean the same in both.
    """
    order = ORDERS[which]
    segment = dict(label=which, is_crowd=False, of_thing_class=True, category_id=1)
    segments = [dict(segment, id=k + 1) for k in order]
    plane = renumber(scene.plane, np.argsort(order))
    return IndexMapToMasks()(dict(gt_index_map=plane, gt_segments_info=segments))


def known_truth(results: dict) -> frozenset[str]:
    """Those of the keys ``PLANE`` and ``MASKS`` that the results of a pipeline hold."""
    return (PLANE | MASKS) & results.keys()


def on_scene(results: dict, scene: Scene, which: int) -> dict:
    """The results of a pipeline with one image of a scene and its truth, if they hold such."""
    truth = {key: scene_truth(scene, which)[key] for key in known_truth(results)}
    results = {**results, **copy.deepcopy(truth)}
    if 'img' in results:
        height, width = size = scene.plane.shape
        results.update(img_shape=size, ori_shape=size, height=height, width=width)
        results['img'] = scene.images[which].copy()
    return results


def run_trials(
    transform: Callable, results: dict, tries: int
) -> Iterator[tuple[Scene, list[dict]] | Exception]:
    """What a transform makes of both images with equal random numbers, or the error it raises.

    Args:
        results: what the pipeline holds before the transform; image and truth are replaced by those
            of the scenes. Each image has a copy of the transform to itself, since some keep what
            they have seen.
        tries: with different random numbers, on the small scene.
    """
    copies = [transform, transform]
    with suppress(Exception):  # not everything can be copied
        copies = [copy.deepcopy(transform) for _ in copies]
    for scene, most in zip(scenes(), (tries, TRIES_ON_THE_LARGE_SCENE)):
        seen = 0
        for seed in range(most):
            made = []
            try:
                for which, own in enumerate(copies):
                    random.seed(seed)
                    np.random.seed(seed)
                    torch.default_generator.manual_seed(seed)
                    made.append(own(on_scene(results, scene, which)))
            except UserError:
                raise
            except Exception as error:
                # an assertion may say that the small scene is too small
                if scene is scenes()[1] or not isinstance(error, AssertionError):
                    yield error
                continue
            if all(isinstance(each, dict) for each in made):  # None asks for another image
                yield scene, made
                seen += getattr(made[0].get('img'), 'nbytes', 0)
            if seen > MOST_BYTES:
                break


def truth_regions(truth: dict) -> dict[str, np.ndarray]:
    """Where each form of the truth has segments, (H, W) bool, by its name."""
    regions = {}
    if 'gt_index_map' in truth:
        regions['the index plane'] = np.asarray(truth['gt_index_map']) >= 0
    if len(truth.get('gt_masks', ())):
        regions['the masks'] = truth['gt_masks'].to_ndarray().astype(bool).any(0)
    if 'gt_seg_map' in truth:
        regions['gt_seg_map'] = np.asarray(truth['gt_seg_map']) != MMDET_VOID
    return regions


def segment_ids(truth: dict) -> np.ndarray:
    """The id of the segment at every pixel (H, W), 0 where there is none, -1 for other numbers."""
    plane = np.asarray(truth['gt_index_map']).astype(np.int64)
    ids = [segment['id'] for segment in truth['gt_segments_info']]
    known = (plane >= PADDING_INDEX) & (plane < len(ids))
    ids = np.array([*ids, -1, 0, 0])  # the last two entries are padding and void
    return ids[np.where(known, plane, len(ids) - 3)]


def training_problem(
    scene: Scene, images: Sequence[np.ndarray], truths: Sequence[dict]
) -> str | None:
    """What is wrong after a transform of a training pipeline, if anything is.

    ``truths`` are what the model learns from, for both images. It is empty if the truth is loaded
    later: then the image has to stay where it is.
    """
    sharp = scene is scenes()[0]  # the large scene may be made so small that a cell is few pixels
    regions = [truth_regions(truth) for truth in truths] or [{'the truth': scene.plane >= 0}] * 2
    for what, region in regions[0].items():
        if differ_beside(images, region, regions[1].get(what, region)):
            return None  # it draws random numbers of its own, which are not equal for both
        if region.shape != images[0].shape[:2] or lies_elsewhere(images, region, sharp=sharp):
            return f'does not move {what} as it moves the image'
    if 'the index plane' in regions[0]:
        ids, other_ids = map(segment_ids, truths)
        known = np.minimum(ids, other_ids) > 0
        if (ids != other_ids)[known].any() or ids.min() < 0:
            return f'{OTHER_SEGMENTS}the index plane'
    if 'gt_seg_map' in regions[0]:
        labels, other_labels = (np.asarray(truth['gt_seg_map']) for truth in truths)
        known = regions[0]['gt_seg_map'] & regions[1]['gt_seg_map']
        if (other_labels != labels + 1)[known].any():
            return f'{OTHER_SEGMENTS}gt_seg_map'
    return None


def test_problem(scene: Scene, images: Sequence[np.ndarray], plane: np.ndarray) -> str | None:
    """What is wrong after a transform of a test pipeline, if anything is.

    The image has to be the whole one, of whatever size, and the plane the original one.
    """
    if lies_elsewhere(images, resize_plane(scene.plane, *images[0].shape[:2]) >= 0):
        return 'cuts, pads, mirrors or moves the image'
    return None if np.array_equal(plane, scene.plane) else CHANGED_PLANE
