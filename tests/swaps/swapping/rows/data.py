"""Transforms, data sets, their wrappers, and samplers."""

from functools import partial

from ..data import SIZES
from ..row import Row, says

color = partial(Row, 'Transforms of color', colors=True)
ours = partial(Row, 'Transforms of image and plane')
geometry = partial(Row, 'Transforms of mmdet that move pixels')
dataset = partial(Row, 'Data sets and wrappers')
sampler = partial(Row, 'Samplers')


def pipeline(*transforms: str) -> str:
    lines = ',\n    '.join(transforms)
    return f"""
train_pipeline = [
    *_base_.load,
    {lines},
    _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
"""


def moved(
    kind: str, arguments: str = '', *, refused: str | None = None, name: str | None = None
) -> Row:
    """A transform of mmdet, given directly, which has to be refused by its name."""
    transform = f"dict(type='{kind}'{arguments})"
    return geometry(name or kind, pipeline(transform), refused=refused or kind)


def mapped(name: str, *transforms: str, **options) -> Row:
    """Transforms of mmdet inside the one that lets the plane follow."""
    inner = ',\n        '.join(transforms)
    return geometry(
        f'{name}, plane included',
        pipeline(f"dict(type='PanopticGeometricTransforms', transforms=[\n        {inner}])"),
        **options,
    )


LOAD_OF_MMDET = """
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticAnnotations', with_bbox=True, with_mask=True, with_seg=True),"""


def of_mmdet(*transforms: str) -> str:
    lines = ''.join(f'\n    {transform},' for transform in transforms)
    return f"""
train_pipeline = [{LOAD_OF_MMDET}{lines}
    dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
"""


def wrapped(text: str, *more: str) -> str:
    lines = ''.join(f'\n    {line},' for line in (*more, f'dataset=dict(_delete_=True, {text})'))
    return f"""
scenes = dict(
    type='ShapesPanopticDataset', data_root='data/shapes/', image_size=(96, 96),
    ann_file='annotations/panoptic_train2017.json',
    data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
    pipeline=_base_.train_pipeline)
train_dataloader = dict({lines[:-1]})
"""


def sampled(text: str) -> str:
    return f'\ntrain_dataloader = dict({text})\n'


@says('no batch mixes upright images with others')
def one_orientation(seen, base) -> str | None:
    upright = [
        {SIZES.get(number, (96, 96))[0] > SIZES.get(number, (96, 96))[1] for number in batch}
        for batch in seen.images
    ]
    return f'a batch is mixed: {seen.images}' if any(len(kinds) > 1 for kinds in upright) else None


ROWS = [
    color('PanopticColorJitter', pipeline("dict(type='PanopticColorJitter')")),
    color('PhotoMetricDistortion', pipeline("dict(type='PhotoMetricDistortion')")),
    color(
        'Normalize, a second time',
        pipeline("dict(type='Normalize', mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])"),
        refused='remove Normalize from the pipeline',
    ),
    color('YOLOXHSVRandomAug', pipeline("dict(type='YOLOXHSVRandomAug')")),
    *[
        color(kind, pipeline(f"dict(type='{kind}', prob=1.0)"))
        for kind in (
            'AutoContrast',
            'Brightness',
            'Contrast',
            'Equalize',
            'Invert',
            'Posterize',
            'Sharpness',
            'Solarize',
            'SolarizeAdd',
            'Color',
        )
    ],
    color(
        'RandomGrayscale', pipeline("dict(type='RandomGrayscale', prob=1.0, keep_channels=True)")
    ),
    color(
        'RandomChoice and RandomApply of colors',
        pipeline("""dict(
        type='RandomChoice',
        transforms=[
            [dict(type='PhotoMetricDistortion')],
            [dict(type='RandomApply', prob=0.9,
                  transforms=[dict(type='Equalize', prob=1.0)])]])"""),
    ),
    color(
        'Albu of colors',
        pipeline("""dict(
        type='Albu', transforms=[dict(type='RandomBrightnessContrast', p=1.0)])"""),
        refused='albumentations',
    ),
    color(
        'RandomErasing',
        pipeline("dict(type='RandomErasing', n_patches=1, ratio=(0.05, 0.1), img_border_value=0)"),
        refused=None,
    ),
    color(
        'CutOut',
        pipeline("dict(type='CutOut', n_holes=2, cutout_shape=[(8, 8), (4, 8)])"),
        mixed=0.15,
    ),  # a hole keeps its segment
    # ours
    ours('PanopticRandomFlip, always', pipeline("dict(type='PanopticRandomFlip', prob=1.0)")),
    ours('PanopticResize', pipeline("dict(type='PanopticResize', size=(64, 64))")),
    ours('PanopticRandomCrop', pipeline("dict(type='PanopticRandomCrop', crop_size=(64, 80))")),
    ours(
        'PanopticLargeScaleJitter',
        pipeline("dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 1.5), scale_step=0.1)"),
    ),
    ours(
        'PanopticCopyPaste',
        pipeline(
            '_base_.flip', "dict(type='PanopticCopyPaste', pipeline=[*_base_.load, _base_.flip])"
        ),
        mixed=0.15,  # pasted stuff joins that of the image
    ),
    ours(
        'copy_paste_pipeline of the COCO data',
        """
train_dataloader = dict(dataset=dict(pipeline=_base_.copy_paste_pipeline))
""",
        colors=True,
        mixed=0.15,  # pasted stuff joins that of the image
    ),
    ours(
        'max_pipeline of the COCO data',
        """
train_dataloader = dict(dataset=dict(pipeline=_base_.max_pipeline))
""",
    ),
    ours(
        'another image size',
        """
image_size = (64, 128)
train_dataloader = dict(dataset=dict(image_size=image_size, pipeline=_base_.max_pipeline))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
""",
    ),
    ours(
        'an image size of the data alone',
        """
train_dataloader = dict(dataset=dict(image_size=(128, 128)))
""",
        refused='image_size',
    ),
    ours(
        'a size that does not fit aligned corners',
        """
model = dict(align_corners=True)
""",
        refused='align_corners',
    ),
    ours(
        'no truth',
        """
train_pipeline = [dict(type='LoadImageFromFile'), _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
        refused='LoadPanopticIndexMap',
    ),
    ours(
        'the truth loaded after the flip',
        """
train_pipeline = [_base_.load[0], _base_.flip, _base_.load[1], _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
        refused='PanopticRandomFlip',
    ),
    ours(
        'no packing',
        """
train_dataloader = dict(dataset=dict(pipeline=[*_base_.load, _base_.flip]))
""",
        refused='PackPanopticInputs',
    ),
    # mmdet's
    moved('RandomFlip', ', prob=0.5'),
    moved('RandomFlip', ", prob=0.5, direction='vertical'", name='RandomFlip, vertical'),
    moved('Rotate', ', prob=1.0'),
    moved('ShearX', ', prob=0.5'),
    moved('ShearY', ', prob=0.5'),
    moved('TranslateX', ', prob=0.5'),
    moved('TranslateY', ', prob=0.5'),
    moved(
        'AutoAugment',
        """, policies=[
        [dict(type='Equalize', prob=0.4), dict(type='Rotate', prob=0.3)],
        [dict(type='Posterize', prob=0.6), dict(type='TranslateX', prob=0.6)]]""",
        refused='AutoAugment',
    ),
    moved('RandAugment', '', refused='PanopticGeometricTransforms'),
    moved('RandomResize', ', scale=(96, 96), ratio_range=(0.5, 2.0), keep_ratio=True'),
    moved('Resize', ', scale=(64, 64), keep_ratio=True'),
    moved('RandomChoiceResize', ', scales=[(96, 96), (64, 64)], keep_ratio=True'),
    moved('FixShapeResize', ', width=96, height=96, keep_ratio=True'),
    moved('RandomCrop', ', crop_size=(64, 64)'),
    moved('MinIoURandomCrop', ', min_ious=(0.1, 0.3), min_crop_size=0.3'),
    moved(
        'RandomCenterCropPad',
        ', crop_size=(64, 64), ratios=(0.9, 1.0), mean=[0, 0, 0],\n'
        '         std=[1, 1, 1], to_rgb=True, test_pad_mode=None',
    ),
    moved('Expand', ', mean=[123, 116, 103], ratio_range=(1, 2)'),
    moved('Pad', ', size=(128, 128)'),
    moved('RandomShift', ', prob=1.0'),
    moved('RandomAffine', ', border=(0, 0)'),
    moved('Mosaic', ', img_scale=(96, 96)'),
    moved('CachedMosaic', ', img_scale=(96, 96), max_cached_images=4'),
    moved('MixUp', ', img_scale=(96, 96)'),
    moved('CachedMixUp', ', img_scale=(96, 96), max_cached_images=4'),
    moved('CopyPaste', ''),
    geometry(
        'RandomFlip inside RandomApply',
        pipeline("""dict(
        type='RandomApply', prob=0.3, transforms=[dict(type='RandomFlip', prob=0.5)])"""),
        refused='RandomApply',
    ),
    mapped('RandomFlip', "dict(type='RandomFlip', prob=1.0)"),
    mapped(
        'RandomFlip in three directions',
        "dict(type='RandomFlip', prob=[0.3, 0.3, 0.3],\n"
        "             direction=['horizontal', 'vertical', 'diagonal'])",
    ),
    mapped(
        'RandomResize and RandomCrop',
        "dict(type='RandomResize', scale=(96, 96), ratio_range=(0.5, 2.0), keep_ratio=True)",
        "dict(type='RandomCrop', crop_size=(96, 96))",
    ),
    mapped('Rotate', "dict(type='Rotate', prob=1.0)"),
    mapped(
        'ShearX and TranslateY',
        "dict(type='ShearX', prob=1.0)",
        "dict(type='TranslateY', prob=1.0)",
    ),
    mapped('RandAugment', "dict(type='RandAugment')", colors=True),
    mapped('Resize that bends', "dict(type='Resize', scale=(96, 64), keep_ratio=False)"),
    # whole pipelines of mmdet
    dataset('the pipeline of mmdet', of_mmdet()),
    dataset('the pipeline of mmdet with a flip', of_mmdet("dict(type='RandomFlip', prob=0.5)")),
    dataset(
        'the pipeline of Mask2Former (LSJ)',
        of_mmdet(
            "dict(type='RandomFlip', prob=0.5)",
            "dict(type='RandomResize', scale=(96, 96), ratio_range=(0.5, 2.0), keep_ratio=True,\n"
            "         resize_type='Resize')",
            "dict(type='RandomCrop', crop_size=(96, 96), crop_type='absolute',\n"
            '         recompute_bbox=True, allow_negative_crop=True)',
        ),
    ),
    dataset(
        'our plane, packed by mmdet',
        """
train_pipeline = [*_base_.load, _base_.flip, dict(type='IndexMapToMasks'),
                  dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
    ),
    dataset(
        'our plane, packed by mmdet without masks',
        """
train_pipeline = [*_base_.load, _base_.flip, dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
        refused='PackPanopticInputs',
    ),
    dataset(
        'boxes and masks without semantic classes',
        """
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticAnnotations', with_bbox=True, with_mask=True, with_seg=False),
    dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
        refused='gt_sem_seg',
    ),
    dataset('RepeatDataset', wrapped("type='RepeatDataset', times=3, dataset=scenes")),
    dataset('ConcatDataset', wrapped("type='ConcatDataset', datasets=[scenes, scenes]")),
    dataset(
        'ClassBalancedDataset',
        wrapped("type='ClassBalancedDataset', oversample_thr=0.9, dataset=scenes"),
    ),
    dataset(
        'RepeatDataset of ConcatDataset',
        wrapped(
            "type='RepeatDataset', times=5,\n"
            "    dataset=dict(type='ConcatDataset', datasets=[scenes, scenes])"
        ),
    ),
    dataset(
        'MultiImageMixDataset with Mosaic',
        wrapped("""
    type='MultiImageMixDataset', dataset=scenes,
    pipeline=[dict(type='Mosaic', img_scale=(96, 96))]"""),
        refused='Mosaic',
    ),
    dataset(
        'CocoPanopticDataset',
        """
things = ('disk', 'square', 'triangle', 'star', 'ring', 'cross')
stuff = ('stripes', 'checks', 'dots', 'grain', 'gradient')
metainfo = dict(classes=things + stuff, thing_classes=things, stuff_classes=stuff)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticAnnotations', with_bbox=True, with_mask=True, with_seg=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(
    _delete_=True, type='CocoPanopticDataset', data_root='data/shapes/',
    ann_file='annotations/panoptic_train2017.json',
    data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
    metainfo=metainfo, filter_cfg=dict(filter_empty_gt=True), pipeline=train_pipeline))
""",
    ),
    dataset(
        'PanopticIndexDataset with classes of metainfo',
        """
things = ['disk', 'square', 'triangle', 'star', 'ring', 'cross']
stuff = ['stripes', 'checks', 'dots', 'grain', 'gradient']
named = dict(
    type='PanopticIndexDataset',
    metainfo=dict(thing_classes=things, stuff_classes=stuff))
train_dataloader = dict(dataset=named)
val_dataloader = dict(dataset=named)
test_dataloader = val_dataloader
""",
        changes='nothing',
    ),
    dataset(
        'another number of classes in the model',
        '\nmodel = dict(num_things_classes=8)\n',
        refused='num_things_classes',
    ),
    dataset(
        'CocoDataset',
        """
train_dataloader = dict(dataset=dict(type='CocoDataset'))
""",
        refused='CocoDataset',
    ),
    dataset(
        'filter_cfg and indices',
        """
train_dataloader = dict(dataset=dict(indices=4, filter_cfg=dict(min_size=80)))
""",
    ),
    dataset(
        'lazy_init', '\ntrain_dataloader = dict(dataset=dict(lazy_init=True))\n', changes='nothing'
    ),
    # samplers
    sampler(
        'DefaultSampler, whose first pass has the same order',
        sampled("sampler=dict(type='DefaultSampler', shuffle=True)"),
        changes='nothing',
    ),
    sampler(
        'DefaultSampler without shuffling',
        sampled("sampler=dict(type='DefaultSampler', shuffle=False)"),
    ),
    sampler('InfiniteSampler without shuffling', sampled('sampler=dict(shuffle=False)')),
    sampler(
        'ClassAwareSampler',
        sampled("sampler=dict(_delete_=True, type='ClassAwareSampler', num_sample_class=1)"),
    ),
    sampler(
        'AspectRatioBatchSampler',
        sampled("batch_sampler=dict(type='AspectRatioBatchSampler')"),
        shows=(one_orientation,),
    ),
    sampler(
        'AspectRatioBatchSampler over RepeatDataset',
        wrapped(
            "type='RepeatDataset', times=3, dataset=scenes",
            "batch_sampler=dict(type='AspectRatioBatchSampler')",
        ),
        shows=(one_orientation,),
    ),
    sampler(
        'AspectRatioBatchSampler over ConcatDataset',
        wrapped(
            "type='ConcatDataset', datasets=[scenes, scenes]",
            "batch_sampler=dict(type='AspectRatioBatchSampler')",
        ),
        shows=(one_orientation,),
    ),
    sampler(
        'AspectRatioBatchSampler with DefaultSampler',
        sampled(
            "\n    sampler=dict(type='DefaultSampler', shuffle=True),\n"
            "    batch_sampler=dict(type='AspectRatioBatchSampler', drop_last=True)"
        ),
    ),
    sampler(
        'BatchSampler of torch',
        """
from torch.utils.data import BatchSampler
train_dataloader = dict(batch_sampler=dict(type=BatchSampler, drop_last=True))
""",
        changes='nothing',
    ),
    sampler(
        'MultiSourceSampler',
        wrapped(
            "type='ConcatDataset', datasets=[scenes, dict(scenes, indices=[4, 3, 2, 1])]",
            "sampler=dict(_delete_=True, type='MultiSourceSampler', batch_size=2,\n"
            '                 source_ratio=[1, 1])',
        ),
    ),
    sampler(
        'CustomSampleSizeSampler',
        wrapped(
            "type='ConcatDataset', datasets=[scenes, dict(scenes, indices=[4, 3, 2, 1])]",
            "sampler=dict(_delete_=True, type='CustomSampleSizeSampler', dataset_size=[4, 4])",
        ),
    ),
    sampler(
        'a batch of 3 and workers', sampled('batch_size=3, num_workers=2, persistent_workers=True')
    ),
]
