"""mmdet's Mask2Former R50 on generated scenes: a peer for CMT-DeepLab where COCO is out of reach.

    python tools/train.py configs/peers/mask2former_r50_1xb8_shapes.py
Hardware: one GPU, or a CPU and patience. Cost: 20,000 iterations of 8 images of 96x96. Expected PQ:
unknown, not trained by us.
"""

_base_ = [
    '../_base_/datasets/shapes_panoptic_masks.py',
    '../_base_/schedules/mmdet.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

source = mmdet_config(
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', _base_, max_iters=20000
)
model, optim_wrapper = source.model, source.optim_wrapper
param_scheduler, train_cfg = source.param_scheduler, source.train_cfg
train_cfg.val_interval = 2000
auto_scale_lr = dict(base_batch_size=8)
del source
