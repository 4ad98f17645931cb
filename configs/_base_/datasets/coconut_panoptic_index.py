"""COCONut-S for training and the relabeled COCO val: COCO's classes and images, annotated anew.

tools/dataset_converters/coconut.py brings both into the layout of COCO:
    data/coconut/{coconut_s,relabeled_coco_val}/*.jpg
    data/coconut/annotations/panoptic_{coconut_s,relabeled_coco_val}{.json,/*.png}

COCONut-B has COCO's unlabeled images besides: exchange coconut_s for coconut_b. Figures on the
relabeled images do not compare with those on COCO val. The rest is that of coco_panoptic_index.py.
"""

_base_ = './coco_panoptic_index.py'
data_root = 'data/coconut/'
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/panoptic_coconut_s.json',
        data_prefix=dict(img='coconut_s/', seg='annotations/panoptic_coconut_s/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/panoptic_relabeled_coco_val.json',
        data_prefix=dict(img='relabeled_coco_val/', seg='annotations/panoptic_relabeled_coco_val/'),
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'annotations/panoptic_relabeled_coco_val.json',
    seg_prefix=data_root + 'annotations/panoptic_relabeled_coco_val/',
)
test_evaluator = val_evaluator
