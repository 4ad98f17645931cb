"""Panoptic FPN of the size of cmt-deeplab_tiny_shapes.py, on the same generated scenes.

    python tools/misc/make_shapes.py data/shapes
    python tools/train.py configs/peers/panoptic-fpn_tiny_shapes.py
Hardware: 2 CPU cores, with mmcv's compiled operators (nms, roi_align); without them the first step
stops and says how to build them. Cost: minutes. PQ: not measured, docs/compare.md says why.

Losses, assignment and merge are those of mmdet's config. The backbone, the batch and the optimizer
are those of the tiny CMT-DeepLab. The scenes are small: anchors are half as large as mmdet's at
their stride, proposals a tenth, and the smallest stuff segment has 64 pixels.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_tiny.py',
    '../_base_/datasets/shapes_panoptic_masks.py',
    '../_base_/schedules/adamw_short.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

channels = 48
strides = [4, 8, 16]
extractor = dict(out_channels=channels, featmap_strides=strides, finest_scale=14)
few = dict(nms_pre=200, max_per_img=100)
source = mmdet_config('mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py', _base_)
source.merge_from_dict(
    dict(
        model=dict(
            neck=dict(in_channels=[32, 64, 128], out_channels=channels, num_outs=3),
            rpn_head=dict(
                in_channels=channels,
                feat_channels=channels,
                anchor_generator=dict(scales=[4], strides=strides),
            ),
            roi_head=dict(
                bbox_roi_extractor=extractor,
                bbox_head=dict(in_channels=channels, fc_out_channels=128),
                mask_roi_extractor=extractor,
                mask_head=dict(in_channels=channels, conv_out_channels=channels, num_convs=2),
            ),
            semantic_head=dict(
                in_channels=channels,
                inner_channels=channels,
                end_level=3,
                norm_cfg=dict(num_groups=16),
            ),
            train_cfg=dict(rpn_proposal=few, rcnn=dict(sampler=dict(num=64))),
            test_cfg=dict(rpn=few, panoptic=dict(stuff_area_limit=64)),
        )
    )
)
model = dict(source.model, _delete_=True, backbone=_base_.model.backbone)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
del source
