"""Pipelines whose truth does not stay with the image are refused when the data set is built."""

import random
import re

import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.datasets import check_pipelines, dataset_check, pipeline_check
from cmt_deeplab.datasets.shape_forms import STUFF_CLASSES, THING_CLASSES
from cmt_deeplab.errors import UserError
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS

LOAD_IMAGE, LOAD_PLANE = dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')
LOAD_MASKS, TO_MASKS = dict(type='LoadPanopticAnnotations'), dict(type='IndexMapToMasks')
LOAD = [LOAD_IMAGE, LOAD_PLANE]
PACK, PACK_TEST = (
    dict(type='PackPanopticInputs'),
    dict(type='PackPanopticInputs', crowd_as_void=False),
)
PACK_DET = dict(type='PackDetInputs')
FLIP = dict(type='RandomFlip', prob=0.5)
PASTE = dict(type='PanopticCopyPaste', pipeline=LOAD)
WRAPPED = "write dict(type='PanopticGeometricTransforms', transforms="


@pytest.fixture(autouse=True)
def short_check_of_every_pipeline(monkeypatch):
    monkeypatch.setattr(dataset_check, '_passed', set())
    monkeypatch.setattr(pipeline_check, 'MOST_TRIES', 60)


def of(type_, **arguments):
    return dict(type=type_, **arguments)


def config(root, pipeline, test=False):
    split = 'val' if test else 'train'
    return dict(
        type='ShapesPanopticDataset',
        data_root=str(root),
        ann_file=f'annotations/panoptic_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/', seg=f'annotations/panoptic_{split}2017/'),
        pipeline=pipeline,
        test_mode=test,
        image_size=(96, 96),
    )


def refusal(root, pipeline, test=False):
    """The sentence with which a data set of this pipeline is refused, before it reads an image."""
    with pytest.raises(UserError) as error:
        DATASETS.build(config(root, pipeline, test))
    sentence = str(error.value)
    assert sentence.endswith('.') and '\n' not in sentence
    return sentence


class Own(BaseTransform):
    """Does to the results what a function says, with a probability."""

    def __init__(self, function, prob=1.0):
        self.function, self.prob = function, prob

    def transform(self, results):
        if np.random.rand() < self.prob:
            self.function(results)
        return results


def turn(results):
    results['img'] = np.ascontiguousarray(np.rot90(results['img'], 2))


def shift(results):
    results['img'] = np.roll(results['img'], 1, axis=1)


def mirror_plane(results):
    results['gt_index_map'] = results['gt_index_map'][::-1]


def mirror_both(results):
    for key in ('img', 'gt_index_map'):
        results[key] = results[key][:, ::-1].copy()


def torch_mirror(results):
    if torch.rand(1) < 0.1:
        results['img'] = results['img'][::-1].copy()


def blur(results):
    results['img'] = cv2.GaussianBlur(results['img'], (9, 9), 0)


def noise(results):
    image = results['img'] + np.random.normal(0, 40, results['img'].shape)
    results['img'] = image.clip(0, 255).astype(np.uint8)


def to_tensor(results):
    results['img'] = torch.from_numpy(results['img']).permute(2, 0, 1)


def to_integers(results):
    results['img'] = results['img'].astype(np.int64)


def needs_the_data_set(results):
    assert len(results['dataset']) > 1 and results['segments_info'] and results['img_path']


def mirror_both_by_own_chance(results):
    if np.random.default_rng().random() < 0.5:
        mirror_both(results)


def crop_large(results):
    if min(results['img'].shape[:2]) > 256:
        results['img'] = results['img'][-256:, -256:].copy()


def enlarge_both_bilinearly(results):
    for key in ('img', 'gt_index_map'):
        plane = cv2.resize(results[key].astype(np.float32), None, fx=1.4, fy=1.4)
        results[key] = plane.round().astype(results[key].dtype)


def frame_of_the_first_segment(results):
    for key in ('img', 'gt_index_map'):
        results[key] = cv2.copyMakeBorder(results[key], 9, 9, 9, 9, cv2.BORDER_CONSTANT, value=0)


def drop_the_last_segment(results):
    gone = len(results['gt_segments_info']) - 1
    plane = results['gt_index_map']
    results['gt_segments_info'] = results['gt_segments_info'][:gone]
    results['gt_index_map'] = np.where(plane == gone, -1, plane).astype(np.int16)


class OwnGenerator(BaseTransform):
    """Shifts by a number that a generator of its own draws."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def transform(self, results):
        results['img'] = np.roll(results['img'], self.rng.integers(0, 4), axis=0)
        return results


class Counting(BaseTransform):
    """Remembers what a generator of its own has drawn."""

    def __init__(self):
        self.rng, self.drawn = np.random.default_rng(5), []

    def transform(self, results):
        self.drawn.append(self.rng.random())
        return results


PAD_WITH_0 = of('Pad', size_divisor=64, pad_val=dict(seg=0))
MOVES = [
    FLIP,
    of('RandomFlip', prob=0.02),
    of('Rotate'),
    of('TranslateX'),
    of('ShearY'),
    of('AutoAugment'),
    of('Resize', scale=(96, 96)),  # the size of the images of this data set
    of('RandomResize', scale=(96, 96), ratio_range=(1.0, 1.0)),
    of('RandomCrop', crop_size=(96, 96)),
    of('RandomCrop', crop_size=(1024, 1024)),
    of('CenterCrop', crop_size=(512, 512)),
    of('Pad', size_divisor=32),
    of('Expand'),
    of('RandomApply', transforms=[of('RandomFlip', prob=1.0)], prob=0.1),
    of('RandomChoice', transforms=[[of('RandomFlip', prob=1.0)], [of('Invert')]]),
]


@pytest.mark.parametrize('transform', MOVES, ids=lambda transform: transform['type'])
def test_a_transform_that_moves_the_image_alone(transform, shapes_root):
    sentence = refusal(shapes_root, [*LOAD, transform, PACK])
    assert 'does not move the index plane as it moves the image' in sentence
    assert WRAPPED in sentence and 'Compose' not in sentence
    dataset = DATASETS.build(
        config(
            shapes_root, [*LOAD, of('PanopticGeometricTransforms', transforms=[transform]), PACK]
        )
    )
    assert dataset[0]['data_samples'].gt_panoptic_seg.index_map.dtype == torch.int16


@pytest.mark.parametrize(
    'transform',
    [
        Own(turn, prob=0.05),
        Own(shift),
        Own(mirror_plane),
        Own(torch_mirror),
        Own(crop_large),
        Own(enlarge_both_bilinearly),
        Own(frame_of_the_first_segment, prob=0.05),
        OwnGenerator(),
        of('KeyMapper', mapping=dict(img='img'), auto_remap=True, transforms=[FLIP]),
        of(
            'KeyMapper',
            mapping=dict(img='img', img_shape='img_shape', gt_seg_map='gt_index_map'),
            auto_remap=True,
            transforms=[of('Rotate')],  # fills with 255
        ),
        of('PanopticGeometricTransforms', transforms=[Own(turn, prob=0.05)]),
        of(
            'PanopticGeometricTransforms',
            transforms=[of('Pad', size_divisor=32, pad_val=dict(seg=0))],
        ),
        of('PanopticGeometricTransforms', transforms=[of('Rotate', seg_ignore_label=0)]),
    ],
)
def test_transforms_that_nobody_has_heard_of(transform, shapes_root):
    sentence = refusal(shapes_root, [*LOAD, transform, PACK])
    assert 'so the model would learn from a wrong truth' in sentence


def test_what_acts_on_one_image_in_a_hundred(monkeypatch, shapes_root):
    monkeypatch.undo()
    sentence = refusal(shapes_root, [*LOAD, Own(turn, prob=0.01), PACK])
    assert sentence.startswith('Own in the pipeline of ShapesPanopticDataset')


MIXING = ('Mosaic', 'MixUp', 'CachedMosaic', 'CachedMixUp', 'CopyPaste')


@pytest.mark.parametrize('name', [*MIXING, 'RandomAffine', 'MinIoURandomCrop', 'RandomShift'])
def test_what_cannot_work_is_named(name, shapes_root):
    transform = of(name)
    wrapped = of('PanopticGeometricTransforms', transforms=[transform])
    for each in (transform, wrapped):
        sentence = refusal(shapes_root, [*LOAD, each, PACK])
        assert sentence.startswith(name) and 'take it out' in sentence


@pytest.mark.parametrize(
    'pipeline, words',
    [
        (
            [LOAD_IMAGE, of('PanopticRandomFlip'), LOAD_PLANE, PACK],
            'after the transform that loads',
        ),
        ([LOAD_IMAGE, FLIP, LOAD_PLANE, PACK], 'put it after the transform that loads the truth'),
        ([*LOAD, TO_MASKS, of('PanopticRandomFlip'), PACK_DET], 'put it before IndexMapToMasks'),
        ([*LOAD, TO_MASKS, PASTE, PACK_DET], 'put it before IndexMapToMasks'),
        ([*LOAD, TO_MASKS, FLIP, PACK], 'does not move the index plane'),
        ([*LOAD, of('PanopticCopyPaste', pipeline=[*LOAD, FLIP]), PACK], 'RandomFlip in the pipe'),
        ([LOAD_IMAGE, LOAD_MASKS, of('RandomShift'), PACK_DET], 'does not move the masks'),
        ([LOAD_IMAGE, LOAD_MASKS, of('PanopticRandomFlip'), PACK_DET], 'with LoadPanopticIndexMap'),
        ([LOAD_IMAGE, LOAD_MASKS, PAD_WITH_0, PACK_DET], 'other segments in gt_seg_map'),
        ([LOAD_IMAGE, of('RandomApply', transforms=[LOAD_PLANE]), PACK], 'inside of RandomApply'),
        ([LOAD_IMAGE, of('Compose', transforms=[LOAD_PLANE, FLIP]), PACK], 'RandomFlip in the pip'),
        (
            [
                *LOAD,
                of('RandomApply', transforms=[of('PanopticCopyPaste', pipeline=[*LOAD, FLIP])]),
                PACK,
            ],
            'RandomFlip in the pip',
        ),
        (
            [*LOAD, of('PanopticGeometricTransforms', transforms=[of('PanopticRandomFlip')]), PACK],
            'put it beside PanopticGeometricTransforms',
        ),
        ([LOAD_IMAGE, of('LoadAnnotations', with_mask=True), PACK_DET], 'reads no panoptic PNGs'),
        ([LOAD_IMAGE, PACK], 'training samples without ground truth'),
        ([LOAD_IMAGE, PACK_DET], 'training samples without ground truth'),
        ([*LOAD, PACK_DET], 'without ground truth: .*IndexMapToMasks and PackDetInputs'),
        ([LOAD_IMAGE, LOAD_MASKS, PACK], 'training samples without ground truth'),
    ],
)
def test_the_order_of_a_training_pipeline(pipeline, words, shapes_root):
    assert re.search(words, refusal(shapes_root, pipeline))


@pytest.mark.parametrize(
    'transform, words',
    [
        (of('PanopticRandomFlip'), 'cuts, pads, mirrors or moves the image'),
        (of('RandomFlip', prob=1.0), 'cuts, pads, mirrors or moves the image'),
        (of('Pad', size_divisor=32), 'cuts, pads, mirrors or moves the image'),
        (of('CenterCrop', crop_size=(512, 512)), 'cuts, pads, mirrors or moves the image'),
        (of('PanopticLargeScaleJitter'), 'cuts, pads, mirrors or moves the image'),
        (of('FixShapeResize', width=80, height=96, keep_ratio=True), 'cuts, pads, mirrors'),
        (PASTE, 'changes the image'),
    ],
)
def test_a_test_image_stays_whole(transform, words, shapes_root):
    sentence = refusal(shapes_root, [LOAD_IMAGE, transform, LOAD_PLANE, PACK_TEST], test=True)
    assert words in sentence and 'predictions would not lie where the truth lies' in sentence


def test_several_images_of_one(shapes_root):
    aug = of('TestTimeAug', transforms=[[of('PanopticResize')], [LOAD_PLANE], [PACK_TEST]])
    assert 'makes several images of one' in refusal(shapes_root, [LOAD_IMAGE, aug], test=True)


def test_the_plane_of_a_test_image_is_not_resized(shapes_root):
    pipeline = [*LOAD, of('PanopticResize', size=(64, 64)), PACK_TEST]
    assert 'put LoadPanopticIndexMap after it' in refusal(shapes_root, pipeline, test=True)


SHORT_SIDES = dict(resize_type='Resize', keep_ratio=True)
MASKFORMER = of(  # of mmdet's config for MaskFormer, with fewer sizes
    'RandomChoice',
    transforms=[
        [of('RandomChoiceResize', scales=[(480, 1333), (800, 1333)], **SHORT_SIDES)],
        [
            of('RandomChoiceResize', scales=[(400, 1333), (600, 1333)], **SHORT_SIDES),
            of('RandomCrop', crop_type='absolute_range', crop_size=(384, 600)),
            of('RandomChoiceResize', scales=[(480, 1333), (800, 1333)], **SHORT_SIDES),
        ],
    ],
)
HARMLESS = [
    of('PhotoMetricDistortion'),
    of('ColorTransform'),
    of('Posterize'),
    of('Solarize'),
    of('Equalize'),
    of('AutoContrast'),
    of('Invert'),
    of('Sharpness'),
    of('YOLOXHSVRandomAug'),
    of('RandomGrayscale', prob=0.5),
    of('Normalize', mean=[1, 2, 3], std=[50, 60, 70]),
    of('CutOut', n_holes=3, cutout_shape=(10, 10)),
    of('RandomErasing', n_patches=3, ratio=0.3),
    Own(blur),
    Own(noise),
    Own(mirror_both, prob=0.5),
    Own(mirror_both_by_own_chance),
    Own(drop_the_last_segment),
    Own(to_tensor),
    Own(to_integers),
    Own(needs_the_data_set),
    of('PanopticRandomFlip'),
    of('PanopticColorJitter'),
    of('PanopticCopyPaste', pipeline=[*LOAD, of('PanopticRandomFlip')]),
    of('RandomApply', transforms=[PASTE]),
    of('Compose', transforms=[of('PanopticRandomFlip')]),
]


def test_what_is_right_passes(shapes_root):
    """Among others every transform that changes colors only; with masks, mmdet's geometry too."""
    for transform in HARMLESS:
        DATASETS.build(config(shapes_root, [*LOAD, transform, PACK]))
    jitter = [of('RandomResize', scale=(96, 96), ratio_range=(0.1, 2.0), keep_ratio=True), FLIP]
    jitter.append(of('RandomCrop', crop_size=(64, 64), recompute_bbox=True))
    DATASETS.build(config(shapes_root, [LOAD_IMAGE, LOAD_MASKS, *jitter, PACK_DET]))
    DATASETS.build(config(shapes_root, [LOAD_IMAGE, LOAD_MASKS, MASKFORMER, PACK_DET]))
    DATASETS.build(config(shapes_root, [*LOAD, TO_MASKS, *jitter, PACK_DET]))
    DATASETS.build(config(shapes_root, LOAD))
    smaller = of('SegRescale', scale_factor=0.25)  # for mmdet's Panoptic FPN
    DATASETS.build(config(shapes_root, [*LOAD, TO_MASKS, smaller, PACK_DET]))
    resize = of('Resize', scale=(1333, 800), keep_ratio=True)
    DATASETS.build(config(shapes_root, [LOAD_IMAGE, resize, LOAD_PLANE, PACK_TEST], test=True))
    DATASETS.build(config(shapes_root, [LOAD_IMAGE, resize, LOAD_MASKS, PACK_DET], test=True))


def test_random_generators_stay_as_they_are(shapes_root):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    DATASETS.build(config(shapes_root, [*LOAD, of('PhotoMetricDistortion'), PACK]))
    refusal(shapes_root, [*LOAD, FLIP, PACK])
    assert states() == before


def test_the_transforms_of_the_pipeline_are_not_used_up(shapes_root):
    """A transform with a generator of its own still draws its first number first."""
    transform = Counting()
    dataset = DATASETS.build(config(shapes_root, [*LOAD, transform, PACK]))
    dataset[0]
    assert transform.drawn == [np.random.default_rng(5).random()]


def test_pipelines_of_wrappers(shapes_root):
    def mixing(*transforms):
        inner = config(shapes_root, LOAD)
        return of('MultiImageMixDataset', dataset=inner, pipeline=[*transforms, PACK])

    mosaic = mixing(of('Mosaic'), of('MixUp'))
    for wrapper in (mosaic, of('RepeatDataset', dataset=mosaic, times=2)):
        with pytest.raises(UserError, match='Mosaic in the pipeline of MultiImageMixDataset .*mix'):
            check_pipelines(DATASETS.build(wrapper))
    with pytest.raises(UserError, match='RandomFlip .* does not move the index plane'):
        check_pipelines(DATASETS.build(mixing(FLIP)))
    check_pipelines(DATASETS.build(mixing(of('PanopticRandomFlip'))))


def test_mmdets_own_data_set_is_checked_too(shapes_root):
    theirs = config(shapes_root, [LOAD_IMAGE, LOAD_MASKS, of('RandomShift'), PACK_DET])
    theirs['type'] = 'CocoPanopticDataset'
    theirs['metainfo'] = dict(
        classes=THING_CLASSES + STUFF_CLASSES,
        thing_classes=THING_CLASSES,
        stuff_classes=STUFF_CLASSES,
    )
    del theirs['image_size']
    with pytest.raises(UserError, match='does not move the masks'):
        check_pipelines(DATASETS.build(theirs))


def test_a_lazy_data_set_is_checked_without_its_files():
    lazy = dict(config('nowhere', [*LOAD, FLIP, PACK]), lazy_init=True)
    with pytest.raises(UserError, match='RandomFlip'):
        DATASETS.build(lazy)
    DATASETS.build(dict(lazy, pipeline=[*LOAD, of('PanopticRandomFlip'), PACK]))
