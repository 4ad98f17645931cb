"""Before training: does every transform of a pipeline leave the truth where it leaves the image?

A transform that moves the image alone raises no error: the model would learn from a wrong truth,
or its predictions would be compared with one. So each transform is run on made-up scenes. No file
is read, and the random generators stay as they are.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from mmcv.transforms import Compose, LoadAnnotations, LoadImageFromFile, TestTimeAug
from mmdet.datasets.transforms import LoadPanopticAnnotations, PackDetInputs, SegRescale
from mmengine.dataset import Compose as EngineCompose

from cmt_deeplab.errors import UserError

from .coordinate_scene import Scene
from .copy_paste import PanopticCopyPaste
from .geometric import PanopticGeometricTransforms, with_inner
from .index_map_to_masks import IndexMapToMasks
from .load_panoptic_index_map import LoadPanopticIndexMap
from .packing import PackPanopticInputs
from .spatial import PanopticDrawScale, PanopticLargeScaleJitter, PanopticResize
from .transform_trial import (
    CHANGED_PLANE,
    MASKS,
    OTHER_SEGMENTS,
    PLANE,
    known_truth,
    run_trials,
    test_problem,
    training_problem,
)

MOST_TRIES = 400  # so that a transform is seen that acts on one image in a hundred
LACKING = (KeyError, AttributeError, TypeError, AssertionError, NotImplementedError)
NOTHING = frozenset()
LOADERS = {
    LoadImageFromFile: frozenset({'img'}),
    LoadPanopticIndexMap: PLANE,
    IndexMapToMasks: MASKS,
    LoadPanopticAnnotations: MASKS,
}
UNTRIED = SegRescale, PanopticDrawScale  # the one makes truth smaller, the other moves nothing
COMPOSITIONS = (Compose, EngineCompose)


class PipelineCheck:
    """Walks through one pipeline and knows what its results hold before each transform."""

    def __init__(self, transforms: Iterable[Callable], dataset: Any, holder: str) -> None:
        self.transforms = list(transforms)
        self.where = f'the pipeline of {holder} ({dataset.ann_file})'
        self.training = not dataset.test_mode
        self.reduced = False  # whether the image may be smaller than its plane
        self.packs_plane = any(isinstance(each, PackPanopticInputs) for each in self.transforms)
        self.complete = dataset._fully_initialized and len(dataset) > 0
        self.start = dict(dataset.get_data_info(0), dataset=dataset) if self.complete else {}

    def run(self) -> None:
        self._walk(self.transforms)

    def _walk(self, transforms: Iterable[Callable]) -> None:
        results = self.start
        for transform in one_by_one(transforms):
            self._refuse_by_type(transform, results)
            trusted = is_ours(transform) and self._suits_ours(results)
            if isinstance(transform, PanopticLargeScaleJitter | PanopticResize):
                self.reduced = isinstance(transform, PanopticDrawScale)
            if loaded := loaded_keys(transform):
                results = {**results, **dict.fromkeys(loaded)}
            elif isinstance(transform, PackPanopticInputs | PackDetInputs):
                self._check_packed(transform, results)
            elif not (trusted or isinstance(transform, UNTRIED)):
                results = self._try(transform, results)

    def _suits_ours(self, results: dict) -> bool:
        """Whether the image may be moved with the plane, which is the only truth so far."""
        return self.training and known_truth(results) == PLANE

    def _refuse_by_type(self, transform: Callable, results: dict) -> None:
        """Refuse what needs no trial, also in the pipeline of copy-paste."""
        if isinstance(transform, IndexMapToMasks):
            transform.require_plane(results)
        for inner in with_inner(transform):
            if isinstance(inner, PanopticCopyPaste):
                if not self._suits_ours(results):
                    raise self._refusal(inner, results, 'changes the image and its plane alone')
                self._walk(inner.pipeline.transforms)
            wrong = None
            if hasattr(inner, 'get_indexes'):
                wrong = 'mixes several images but not their index planes'
                remedy = 'take it out; PanopticCopyPaste mixes both'
            elif isinstance(inner, TestTimeAug):
                wrong = 'makes several images of one, but a panoptic map is predicted from one'
                remedy = 'put one of its lists of transforms in its place'
            elif inner is not transform and loaded_keys(inner):
                wrong = f'loads inside of {name_of(transform)}'
                remedy = 'put it before that transform'
            elif reads_other_files(inner):
                wrong = 'reads no panoptic PNGs'
                remedy = "use LoadPanopticIndexMap, or for mmdet's models LoadPanopticAnnotations"
            if wrong:
                raise UserError(f'{type(inner).__name__} in {self.where} {wrong}: {remedy}.')

    def _check_packed(self, transform: Callable, results: dict) -> None:
        """Refuse training samples from which nothing can be learned."""
        packs_plane = isinstance(transform, PackPanopticInputs)
        needed = {'gt_index_map'} if packs_plane else {'gt_masks', 'gt_seg_map'}
        if self.training and not needed & results.keys():
            raise UserError(
                f'{self.where[0].upper()}{self.where[1:]} gives training samples without ground '
                'truth: put LoadPanopticIndexMap after LoadImageFromFile and end in '
                "PackPanopticInputs, or for mmdet's models in IndexMapToMasks and PackDetInputs."
            )

    def _try(self, transform: Callable, results: dict) -> dict:
        """The results of a transform that treats image and truth alike."""
        after = None
        for trial in run_trials(transform, results, MOST_TRIES):
            if not isinstance(trial, Exception):
                problem = self._problem(results, *trial)
                if problem:
                    raise self._refusal(transform, results, problem)
                after = after or trial[1][0]
            elif isinstance(trial, LACKING) and self.complete and 'img' in results:
                message = f'{type(trial).__name__}: {trial}'.rstrip(': ')
                raise UserError(
                    f'{name_of(transform)} in {self.where} cannot work on its samples ({message}): '
                    'take it out of the pipeline, or load what it needs before it.'
                )
        return after or results

    def _problem(self, results: dict, scene: Scene, made: list[dict]) -> str | None:
        """What a transform of these ``results`` has done wrong, as it has ``made`` both images."""
        images = [each.get('img') for each in made]
        arrays = all(isinstance(image, np.ndarray) for image in images)
        if 'img' not in results or not arrays or images[0].shape != images[1].shape:
            return None
        if not self.training:
            return test_problem(scene, images, made[0].get('gt_index_map', scene.plane))
        truth = known_truth(results)
        if truth & MASKS and not self.packs_plane:
            truth -= PLANE  # the model learns from the masks
        truths = [{key: each[key] for key in truth if key in each} for each in made]
        return training_problem(scene, images, truths if truth and not self.reduced else [])

    def _refusal(self, transform: Callable, results: dict, problem: str) -> UserError:
        name, truth = name_of(transform), known_truth(results)
        harm = 'the model would learn from a wrong truth'
        remedy = 'take it out of the pipeline'
        if not self.training:
            harm = 'predictions would not lie where the truth lies'
            if problem == CHANGED_PLANE:
                remedy = 'for evaluation put LoadPanopticIndexMap after it'
        elif self.reduced:
            remedy = (
                'put PanopticLargeScaleJitter before it, as after PanopticDrawScale the image may '
                'be smaller than its plane until then'
            )
        elif not truth:
            remedy = 'put it after the transform that loads the truth'
        elif problem.startswith(OTHER_SEGMENTS):
            remedy = (
                'let it write -1 into gt_index_map, or 255 into gt_seg_map, where there is no '
                'segment, and resize by nearest neighbors'
            )
        elif is_ours(transform):
            remedy = 'load the truth with LoadPanopticIndexMap and put it before IndexMapToMasks'
        elif truth == PLANE and not isinstance(transform, PanopticGeometricTransforms):
            remedy = (
                "write dict(type='PanopticGeometricTransforms', transforms=["
                f"dict(type='{name}', ...)]) in its place, or take it out if that is refused too"
            )
        return UserError(f'{name} in {self.where} {problem}, so {harm}: {remedy}.')


def one_by_one(transforms: Iterable[Callable]) -> Iterator[Callable]:
    """The transforms, those of a ``Compose`` as well.

    Each one inside ``PanopticGeometricTransforms`` has a wrapper to itself.
    """
    for transform in transforms:
        if isinstance(transform, COMPOSITIONS):
            yield from one_by_one(transform.transforms)
        elif isinstance(transform, PanopticGeometricTransforms):
            for inner in transform.transforms.transforms:
                yield PanopticGeometricTransforms(transforms=[inner])
        else:
            yield transform


def is_ours(transform: Callable) -> bool:
    """Whether it is a transform of this package, which moves image and plane but no masks."""
    wrapper = isinstance(transform, PanopticGeometricTransforms)
    return type(transform).__module__.startswith('cmt_deeplab.') and not wrapper


def name_of(transform: Callable) -> str:
    """The type of a transform, for the wrapper of one transform that of the wrapped one."""
    if isinstance(transform, PanopticGeometricTransforms):
        return f'{name_of(transform.transforms.transforms[0])} of PanopticGeometricTransforms'
    return type(transform).__name__


def reads_other_files(transform: Callable) -> bool:
    """Whether it is the loader of polygons and class maps, which a panoptic data set lacks."""
    other = isinstance(transform, LoadAnnotations) and not loaded_keys(transform)
    return other and (transform.with_seg or getattr(transform, 'with_mask', False))


def loaded_keys(transform: Callable) -> frozenset[str]:
    """What a loader of images or truth puts into the results of a pipeline; else nothing."""
    return next((keys for kind, keys in LOADERS.items() if isinstance(transform, kind)), NOTHING)
