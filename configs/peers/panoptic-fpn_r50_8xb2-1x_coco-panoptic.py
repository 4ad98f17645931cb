"""mmdet's Panoptic FPN R50, model and optimizer as mmdet has them, on our data, tools and metric.

    bash tools/dist_train.sh configs/peers/panoptic-fpn_r50_8xb2-1x_coco-panoptic.py 8
Hardware: 8 GPUs, 2 images each, 5 GB (mmdet's metafile). It needs mmcv's compiled operators (nms,
roi_align) on every device; without them the first step stops and says how to build them.
Cost: 88,715 iterations of 16 images at 1024x1024, which are 12 epochs.
PQ 40.2 on COCO val is published for mmdet's own weights, trained at 1333x800; here scale jitter and
crops of 1024x1024. Not trained by us.
"""

_base_ = [
    '../_base_/datasets/coco_panoptic_masks.py',
    '../_base_/schedules/mmdet.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

source = mmdet_config(
    'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py', _base_, max_iters=88715
)
model, optim_wrapper = source.model, source.optim_wrapper
param_scheduler, train_cfg = source.param_scheduler, source.train_cfg
del source
