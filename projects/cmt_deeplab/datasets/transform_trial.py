"""Trials of one transform on made-up scenes: does the truth lie where the image lies?"""

import copy
import random
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MMDET_VOID, PADDING_INDEX

from .coordinate_scene import (
    NUM_SEGMENTS,
    Scene,
    differ_beside,
    images_of,
    lies_elsewhere,
    make_scene,
    mixed,
    segment_ids,
)
from .index_map_to_masks import IndexMapToMasks
from .index_plane import renumber, resize_plane

MOST_TRIES = 400  # so that a transform is seen that acts on one image in a hundred
FEW_TRIES = 8  # of a transform of this package, and on the strips
MOST_PIXELS = 4_000_000  # of all images that one transform makes from one scene
ENOUGH = 40  # tries that have changed the size of the image
# of the segments in the two images: what a transform fills or interpolates is then not the same
ORDERS = np.arange(NUM_SEGMENTS), np.array([3, 6, 0, 5, 2, 7, 4, 1])
SEGMENTS = ('gt_segments_info',)
PLANE = ('gt_index_map', *SEGMENTS)
MASKS = ('gt_masks', 'gt_seg_map', 'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags')

CHANGED_PLANE = 'changes the index plane'
OTHER_SEGMENTS = 'fills or interpolates with numbers of other segments in '


@dataclass(frozen=True)
class Sample:
    """What the results of a pipeline hold at one place of it, apart from the pixels.

    ``dtype`` is that of the image, None before it is loaded. ``truth`` are those of the keys
    ``PLANE`` and ``MASKS`` that are there. ``things`` says whether the data set has thing classes.
    """

    info: dict
    things: bool
    dtype: np.dtype | None = None
    truth: frozenset[str] = frozenset()

    def results(self, scene: Scene, which: int) -> dict:
        """The results of a pipeline on one of the two images of a scene."""
        size = scene.plane.shape
        results = dict(self.info)
        if self.dtype is not None:
            results.update(img_shape=size, ori_shape=size, height=size[0], width=size[1])
            results['img'] = scene.images[which].astype(self.dtype)
        if self.truth:
            truth = scene_truth(scene, self.things, which)
            for key in self.truth:  # the list of segments need not be copied as a whole
                results[key] = (copy.copy if key in SEGMENTS else copy.deepcopy)(truth[key])
        return results

    def after(self, results: dict) -> 'Sample':
        """The sample that a transform has made of this one; ``results`` are of one run."""
        truth = {*PLANE, *MASKS} & results.keys()
        info = {key: value for key, value in results.items() if key not in {*truth, 'img'}}
        image = results.get('img')
        dtype = image.dtype if isinstance(image, np.ndarray) else self.dtype
        return replace(self, info=info, dtype=dtype, truth=frozenset(truth))


@cache
def scenes() -> dict[str, Scene]:
    """A small scene, one of a common size, and strips that are longer than any usual crop."""
    return dict(  # in the order of the trials
        small=make_scene(9, 11, (7, 7)),
        common=make_scene(9, 11, (49, 49)),
        tall=make_scene(24, 4, (88, 16)),
        wide=make_scene(4, 24, (16, 88)),
    )


@cache
def scene_truth(scene: Scene, things: bool, which: int) -> dict:
    """All that may be known of a scene: the plane, and what ``IndexMapToMasks`` makes of it.

    The segments have another order and another label in each of the two images.
    """
    segment = dict(label=which, is_crowd=False, of_thing_class=things, category_id=1)
    order = ORDERS[which]
    segments = [dict(segment, id=k + 1) for k in order]
    plane = renumber(scene.plane, np.argsort(order))
    return IndexMapToMasks()(dict(gt_index_map=plane, gt_segments_info=segments))


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave the random generators of Python, NumPy and torch as they were."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])


def runs(
    transform: Callable, sample: Sample, scene: Scene, tries: int
) -> Iterator[list[dict] | Exception]:
    """What a transform makes of both images with equal random numbers, or the error it raises.

    Each image has a copy of the transform to itself, since some keep what they have seen.
    """
    copies, pixels, resized = [transform, transform], 0, 0
    with suppress(Exception):  # not everything can be copied
        copies = [copy.deepcopy(transform) for _ in scene.images]
    for seed in range(tries):
        made = []
        try:
            for which, own in enumerate(copies):
                random.seed(seed)
                np.random.seed(seed)
                torch.default_generator.manual_seed(seed)
                made.append(own(sample.results(scene, which)))
        except UserError:
            raise
        except Exception as error:
            yield error
        else:
            if all(isinstance(results, dict) for results in made):
                yield made
                sizes = [image.shape[:2] for image in images_of(made[0])]
                pixels += sum(height * width for height, width in sizes)
                resized += sizes != [scene.plane.shape]
        pixels += scene.plane.size
        if pixels > MOST_PIXELS or resized == ENOUGH:
            return


@dataclass
class Trial:
    """What the runs of one transform have shown.

    ``results`` are those of the first run that gave any. ``error`` is what the transform raised on
    the small scene and on the one of a common size alike.
    """

    problem: str | None = None
    results: dict | None = None
    error: Exception | None = None


def try_transform(transform: Callable, sample: Sample, judge: Callable, tries: int) -> Trial:
    """Run a transform on the scenes until ``judge(scene, results of both images)`` objects.

    That of a common size is for one that leaves small images alone, or fails on them. One that
    needs few tries need not see the strips.
    """
    trial, failed = Trial(), {}
    for name, scene in scenes().items():
        again = name == 'common' and bool(failed)
        if name != 'small' and not again and tries <= FEW_TRIES:
            continue
        few = name != 'small' and not again
        for made in runs(transform, sample, scene, FEW_TRIES if few else tries):
            if isinstance(made, Exception):
                failed[name] = made
                continue
            trial.results = trial.results or made[0]
            trial.problem = judge(scene, made)
            if trial.problem:
                return trial
    trial.error = failed.get('common') if 'small' in failed else None
    return trial


def truth_regions(results: dict, plane_counts: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Where each form of the truth in the results has segments, (H, W) bool, after its name."""
    plane, masks = results.get('gt_index_map'), results.get('gt_masks')
    if plane_counts and plane is not None:
        yield 'the index plane', plane >= 0
    if masks is not None and len(masks):
        yield 'the masks', masks.to_ndarray().astype(bool).any(0)
    if results.get('gt_seg_map') is not None:
        yield 'gt_seg_map', results['gt_seg_map'] != MMDET_VOID


def judge_truth(
    scene: Scene, made: list[dict], *, truth: Set[str], plane_counts: bool
) -> str | None:
    """Object where the truth and the image have not gone the same way.

    Args:
        made: the results of both images of ``scene``.
        truth: the keys of the truth before the transform; without any, the truth is loaded later,
            and the image has to stay where it is.
        plane_counts: whether the model will learn from the index plane.
    """
    if 'img' not in made[0]:
        return None
    images = tuple(images_of(results)[0] for results in made)
    known = [{key: value for key, value in results.items() if key in truth} for results in made]
    regions = [list(truth_regions(each, plane_counts)) for each in known]
    if images[0].shape != images[1].shape:
        return None
    # A transform with random numbers of its own moves each of the two to another place.
    places = [np.logical_or.reduce([region for _, region in each]) for each in regions if each]
    alike = len(places) < 2 or not differ_beside(images, places)
    sharp = scene is scenes()['small']
    for what, region in regions[0] if truth else [('the truth', scene.plane >= 0)]:
        if region.shape != images[0].shape[:2] or lies_elsewhere(images, region, sharp=sharp):
            return f'does not move {what} as it moves the image' if alike else None
    if not alike:
        return None
    if plane_counts and 'gt_index_map' in known[0]:
        for each in known:
            plane, number = each['gt_index_map'], len(each['gt_segments_info'])
            if not PADDING_INDEX <= plane.min() <= plane.max() < number:
                wrong = max(plane.max(), -plane.min())
                return f'fills the index plane with {wrong}, which is no segment'
        if mixed(*map(segment_ids, known)):
            return OTHER_SEGMENTS + 'the index plane'
    if 'gt_seg_map' in known[0]:
        maps = [each['gt_seg_map'] for each in known]
        if mixed(*(np.where(m == MMDET_VOID, -1, m + 1 - which) for which, m in enumerate(maps))):
            return OTHER_SEGMENTS + 'gt_seg_map'
    return None


def judge_test_image(scene: Scene, made: list[dict]) -> str | None:
    """Object where the image is not the whole original one, or the plane not the original one."""
    for images in zip(*map(images_of, made)):
        region = resize_plane(scene.plane, *images[0].shape[:2]) >= 0
        if lies_elsewhere(images, region):
            return 'cuts, pads, mirrors or moves the image'
    plane = made[0].get('gt_index_map', scene.plane)
    if plane.shape != scene.plane.shape or (plane != scene.plane).any():
        return CHANGED_PLANE
    return None
