"""mmdet's Mask2Former R50, model and optimizer as mmdet has them, on our data, tools and metric.

    bash tools/dist_train.sh configs/peers/mask2former_r50_8xb2-50e_coco-panoptic.py 8
Hardware: 8 GPUs, 2 images each, 14 GB (mmdet's metafile), with mmcv's compiled operators; a CPU
needs none. Cost: about 3 days on 8 V100 (published). PQ 52.0 on COCO val is published for mmdet's
own weights, trained with scale jitter 0.1-2.0; here the jitter is 0.3-1.7. Not trained by us.
"""

_base_ = [
    '../_base_/datasets/coco_panoptic_masks.py',
    '../_base_/schedules/mmdet.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

source = mmdet_config(
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', _base_, max_iters=368750
)
model, optim_wrapper = source.model, source.optim_wrapper
param_scheduler, train_cfg = source.param_scheduler, source.train_cfg
del source
