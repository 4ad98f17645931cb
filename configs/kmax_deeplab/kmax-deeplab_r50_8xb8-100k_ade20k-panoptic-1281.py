"""kMaX-DeepLab with R50, PyTorch form, on ADE20K: crop 1281, 100k iterations.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_r50_8xb8-100k_ade20k-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 6.4 million images at 292.1 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on ADE20K val: 42.3 (paper). Not trained by us.
Recipe and thresholds of the merge: bytedance/kmax-deeplab ``configs/ade20k``, kmax_r50.yaml.
"""

_base_ = [
    '../_base_/models/kmax-deeplab_r50.py',
    '../_base_/datasets/ade20k_panoptic_index.py',
    '../_base_/schedules/adamw_150k_pytorch.py',
    '../_base_/default_runtime.py',
]
model = dict(
    _base_.for_model,
    panoptic_head=dict(transformer_decoder=dict(layer=dict(drop_path=0.0))),
    postprocess=dict(thing_threshold=0.4, stuff_threshold=0.4),
)
train_cfg = dict(max_iters=100000)
