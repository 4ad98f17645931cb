"""Real images: 100 of COCO to train on and 100 others to test on, in 27 super-categories.

    python tools/misc/subset_panoptic.py data/coco/annotations/panoptic_{train,val}2017.json \\
        data/coco27 --supercategories
    python tools/study/run.py tools/study/plans/real_images.py
Cost: 18 runs of about 13 minutes of one core.
All have the same backbone, EfficientNet-Lite0 with timm's weights of ImageNet, which the first run
fetches, the same augmentation and the same schedule. No model was tuned for this plan; its learning
rates are those of configs/study.
"""

_base_ = './layers.py'

config = 'configs/study/cmt-deeplab_lite0_coco27-256.py'
scenes = None
data_root = 'data/coco27'
iterations = 900
validations = 3
seeds = 3
rows = [
    dict(name=row['name'], options=dict(model=row['options']['model']))
    for row in _base_.rows
    if row['name'] in ('MaX', 'CMT', 'CMT without location', 'kMaX')
]
rows += [
    dict(name='Mask2Former', config='configs/study/mask2former_lite0_coco27-256.py'),
    dict(name='MaskFormer', config='configs/study/maskformer_lite0_coco27-256.py'),
]
