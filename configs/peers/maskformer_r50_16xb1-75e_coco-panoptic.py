"""mmdet's MaskFormer R50, model and optimizer as mmdet has them, on our data, tools and metric.

    GPUS=16 bash tools/slurm_train.sh PARTITION JOB \
        configs/peers/maskformer_r50_16xb1-75e_coco-panoptic.py work_dirs/maskformer
Hardware: 16 GPUs, 1 image each, 16 GB (mmdet's metafile). Cost: 554,475 iterations of 16 images at
1024x1024, which are 75 epochs. PQ 46.9 on COCO val is published for mmdet's own weights, trained at
several scales of 1333x800; here the crops are 1024x1024. Not trained by us.
"""

_base_ = [
    '../_base_/datasets/coco_panoptic_masks.py',
    '../_base_/schedules/mmdet.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

source = mmdet_config(
    'mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py', _base_, max_iters=554475
)
model, optim_wrapper = source.model, source.optim_wrapper
param_scheduler, train_cfg = source.param_scheduler, source.train_cfg
train_dataloader = dict(batch_size=1)
del source
