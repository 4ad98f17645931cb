"""Before training: does every transform of a pipeline leave the truth where it leaves the image?

A transform that moves the image alone raises no error: the model would learn from a wrong truth,
or its predictions would be compared with one. So each transform is run on made-up scenes. No file
is read, and the random generators stay as they are.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from mmcv.transforms import Compose, LoadAnnotations, LoadImageFromFile, TestTimeAug
from mmdet.datasets.transforms import LoadPanopticAnnotations, PackDetInputs, SegRescale
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose as EngineCompose

from cmt_deeplab.errors import UserError

from .coordinate_scene import Scene
from .copy_paste import PanopticCopyPaste
from .geometric import PanopticGeometricTransforms, with_inner
from .load_panoptic_index_map import LoadPanopticIndexMap
from .packing import PackPanopticInputs
from .transform_trial import (
    CHANGED_PLANE,
    FEW_TRIES,
    MASKS,
    MOST_TRIES,
    OTHER_SEGMENTS,
    PLANE,
    Sample,
    judge_test_image,
    judge_truth,
    try_transform,
)

LACKING = (KeyError, AttributeError, TypeError, AssertionError, NotImplementedError)
COMPOSITIONS = (Compose, EngineCompose)


class PipelineCheck:
    """Walks through the transforms of one pipeline, with a sample in the form of each place."""

    def __init__(self, transforms: Sequence[Callable], dataset: Any, holder: str) -> None:
        self.transforms = transforms
        self.where = f'the pipeline of {holder} ({dataset.ann_file})'
        self.training = not dataset.test_mode
        self.packs_plane = any(isinstance(each, PackPanopticInputs) for each in transforms)
        self.complete = dataset._fully_initialized and len(dataset) > 0
        info = dict(image_size=getattr(dataset, 'image_size', None), sample_idx=0, num_classes=0)
        if self.complete:
            info.update(dataset.get_data_info(0), dataset=dataset)
        self.start = Sample(info, things=bool(dataset.metainfo.get('thing_classes')))

    def run(self) -> None:
        results = self._walk(self.transforms)
        sample = results.get('data_samples') if results and self.training else None
        if isinstance(sample, DetDataSample):
            self._check_packed(sample)

    def _walk(self, transforms: Sequence[Callable]) -> dict | None:
        """Check transforms one after the other; the results of the last of them that was run."""
        sample, results = self.start, None
        transforms = list(flat(transforms))
        for position, transform in enumerate(transforms):
            truth = loaded_truth(transform)
            self._check_inner(transform, sample)
            if isinstance(transform, LoadImageFromFile):
                dtype = np.float32 if transform.to_float32 else np.uint8
                sample = replace(sample, dtype=np.dtype(dtype))
            elif truth:
                self._check_loader(transform)
                sample = replace(sample, truth=sample.truth | truth)
            elif not isinstance(transform, PanopticCopyPaste):
                parts = [transform]
                if isinstance(transform, PanopticGeometricTransforms):
                    inner = transform.transforms.transforms
                    parts = [PanopticGeometricTransforms(transforms=[each]) for each in inner]
                for part in parts:
                    results = self._try(part, sample, transforms[position + 1 :])
                    sample = sample.after(results) if results else sample
        return results

    def _check_inner(self, transform: Callable, sample: Sample) -> None:
        """Refuse what no wrapper may hold either, and check the pipelines of copy-paste."""
        for inner in with_inner(transform):
            name = type(inner).__name__
            if hasattr(inner, 'get_indexes'):
                raise UserError(
                    f'{name} in {self.where} mixes several images but not their index planes: take '
                    'it out; PanopticCopyPaste mixes both.'
                )
            if isinstance(inner, TestTimeAug):
                raise UserError(
                    f'{name} in {self.where} makes several images of one: name one of them.'
                )
            if inner is not transform and loaded_truth(inner):
                outer = name_of(transform)
                raise UserError(
                    f'{name} in {self.where} loads the truth inside of {outer}: put it before that.'
                )
            if isinstance(inner, PanopticCopyPaste):
                self._check_copy_paste(inner, sample)

    def _check_loader(self, transform: Callable) -> None:
        """Refuse mmdet's loader of polygons and of class maps: its files are of another kind."""
        other = isinstance(transform, LoadAnnotations)
        other = other and not isinstance(transform, LoadPanopticAnnotations)
        if other and (transform.with_seg or getattr(transform, 'with_mask', False)):
            raise UserError(
                f'LoadAnnotations in {self.where} reads no panoptic PNGs: use '
                "LoadPanopticIndexMap, or for mmdet's models LoadPanopticAnnotations."
            )

    def _check_copy_paste(self, transform: PanopticCopyPaste, sample: Sample) -> None:
        if not self.training:
            raise self._refusal(transform, sample, 'changes the image')
        if sample.truth & set(MASKS):
            raise self._refusal(transform, sample, 'does not paste masks')
        self._walk(transform.pipeline.transforms)

    def _try(self, transform: Callable, sample: Sample, later: Sequence[Callable]) -> dict | None:
        """The results of a transform that treats image and truth alike, None if it gives none."""
        judge, tries = self._judge(sample, later), MOST_TRIES
        if is_ours(transform):
            # Those of this package move plane and image together, but know of nothing else.
            tries = 1 if self.training and sample.truth == set(PLANE) else FEW_TRIES
        elif isinstance(transform, PackDetInputs | SegRescale):
            tries = 1
        if isinstance(transform, SegRescale):  # a smaller class map, as mmdet's Panoptic FPN wants
            judge = accept
        trial = try_transform(transform, sample, judge, tries)
        if trial.problem:
            raise self._refusal(self._culprit(transform, sample, judge), sample, trial.problem)
        if isinstance(trial.error, LACKING) and self.complete and sample.dtype is not None:
            message = f'{type(trial.error).__name__}: {trial.error}'.rstrip(': ')
            raise UserError(
                f'{name_of(transform)} in {self.where} cannot work on its samples ({message}): '
                'take it out of the pipeline, or load what it needs before it.'
            )
        return trial.results

    @staticmethod
    def _culprit(transform: Callable, sample: Sample, judge: Callable) -> Callable:
        """The transform itself, or the one inside it that does what its wrapper does."""
        inside = () if isinstance(transform, PanopticGeometricTransforms) else with_inner(transform)
        for inner in inside:
            if inner is not transform and not isinstance(inner, COMPOSITIONS):
                if try_transform(inner, sample, judge, 5 * FEW_TRIES).problem:
                    return inner
        return transform

    def _judge(self, sample: Sample, later: Sequence[Callable]) -> Callable:
        if not self.training:
            return judge_test_image
        if not (sample.truth or any(map(loaded_truth, later))):
            return accept
        plane_counts = self.packs_plane or not sample.truth & set(MASKS)
        return partial(judge_truth, truth=sample.truth, plane_counts=plane_counts)

    def _refusal(self, transform: Callable, sample: Sample, problem: str) -> UserError:
        wrong, name = 'the model would learn from a wrong truth', name_of(transform)
        remedy = 'take it out of the pipeline'
        if not self.training:
            wrong = 'predictions would not lie where the truth lies'
            if problem == CHANGED_PLANE:
                remedy = 'for evaluation put LoadPanopticIndexMap after it'
        elif not sample.truth:
            remedy = 'put it after the transform that loads the truth'
        elif problem.startswith(OTHER_SEGMENTS):
            remedy = 'let it resize by nearest neighbors and write 255 into gt_seg_map for void'
            if problem.endswith('plane') and not isinstance(transform, PanopticGeometricTransforms):
                remedy = remedy.replace('255 into gt_seg_map', '-1 into gt_index_map')
        elif is_ours(transform) and not set(PLANE) <= sample.truth:
            remedy = 'load the truth with LoadPanopticIndexMap, and make masks after it'
        elif is_ours(transform):
            remedy = 'put it before IndexMapToMasks'
        elif sample.truth == set(PLANE) and self._wrapping_helps(transform, sample):
            remedy = (
                "write dict(type='PanopticGeometricTransforms', transforms=["
                f"dict(type='{name}', ...)]) in its place"
            )
        return UserError(f'{name} in {self.where} {problem}, so {wrong}: {remedy}.')

    def _wrapping_helps(self, transform: Callable, sample: Sample) -> bool:
        if isinstance(transform, PanopticGeometricTransforms):
            return False
        wrapped = PanopticGeometricTransforms(transforms=[copy.deepcopy(transform)])
        judge = self._judge(sample, ())
        try:
            trial = try_transform(wrapped, sample, judge, 5 * FEW_TRIES)
        except UserError:
            return False
        return trial.results is not None and trial.problem is None and trial.error is None

    def _check_packed(self, sample: DetDataSample) -> None:
        """Refuse a training sample from which nothing can be learned."""
        masks = sample.get('gt_instances') is not None and 'masks' in sample.gt_instances
        if 'gt_panoptic_seg' in sample or masks or 'gt_sem_seg' in sample:
            return
        raise UserError(
            f'{self.where[0].upper()}{self.where[1:]} gives training samples without ground truth: '
            'put LoadPanopticIndexMap after LoadImageFromFile and end in PackPanopticInputs, or '
            "for mmdet's models in IndexMapToMasks and PackDetInputs."
        )


def flat(transforms: Sequence[Callable]) -> Iterator[Callable]:
    """The transforms of a pipeline, those of a ``Compose`` in it one by one."""
    for transform in transforms:
        if isinstance(transform, COMPOSITIONS):
            yield from flat(transform.transforms)
        else:
            yield transform


def accept(scene: Scene, made: list[dict]) -> None:
    """Object to nothing."""


def is_ours(transform: Callable) -> bool:
    """Whether this package is known to move image and plane alike in it."""
    wrapper = isinstance(transform, PanopticGeometricTransforms)
    return type(transform).__module__.startswith('cmt_deeplab.') and not wrapper


def name_of(transform: Callable) -> str:
    """The type of a transform, for the wrapper of one transform that of the wrapped one."""
    if isinstance(transform, PanopticGeometricTransforms):
        return f'{name_of(transform.transforms.transforms[0])} of PanopticGeometricTransforms'
    return type(transform).__name__


def loaded_truth(transform: Callable) -> set[str]:
    """The keys of the truth that a transform loads; none if it is no known loader."""
    if isinstance(transform, LoadPanopticIndexMap):
        return set(PLANE)
    if not isinstance(transform, LoadAnnotations):
        return set()
    wanted = dict(
        gt_masks=getattr(transform, 'with_mask', False),
        gt_seg_map=transform.with_seg,
        gt_bboxes=transform.with_bbox,
        gt_bboxes_labels=transform.with_label,
        gt_ignore_flags=transform.with_bbox,
    )
    return {key for key, yes in wanted.items() if yes}
