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
from mmengine.hub import get_config  # noqa: E402  (behind _base_: this is a config in text form)

source = get_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py')
model, optim_wrapper = source.model, source.optim_wrapper
model.data_preprocessor.pop('batch_augments')  # the scenes have one size already
model.test_cfg.instance_on = False
counts = dict(
    num_things_classes=_base_.num_things_classes, num_stuff_classes=_base_.num_stuff_classes
)
model.panoptic_head.update(counts)
model.panoptic_fusion_head.update(counts)
model.panoptic_head.loss_cls.class_weight = [1.0] * sum(counts.values()) + [0.1]
param_scheduler = [dict(source.param_scheduler, end=20000, milestones=[17778, 19259])]
train_cfg = dict(max_iters=20000, val_interval=2000)
auto_scale_lr = dict(base_batch_size=8)
del source
