"""kMaX-DeepLab with Axial-R50, masks at stride 2, on Cityscapes: 1025x2049, batch 32, 60k iterations.

    bash tools/dist_train.sh configs/kmax_deeplab/kmax-deeplab_axial-r50_8xb4-60k_cityscapes-panoptic-1025x2049.py 8 --amp
Hardware: 8 GPUs of 80 GB, 4 images each. Cost: 1.9 million images at 597.5 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on Cityscapes val: 66.4 (deeplab2). Not trained by us.
"""

_base_ = [
    '../_base_/models/kmax-deeplab_axial-r50.py',
    '../_base_/datasets/cityscapes_panoptic_index.py',
    '../_base_/schedules/adamw_60k_cityscapes.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_things_classes=_base_.num_things_classes,
    num_stuff_classes=_base_.num_stuff_classes,
    data_preprocessor=dict(size=_base_.image_size),
    backbone=dict(with_stem_output=True),
    panoptic_head=dict(
        pixel_decoder=dict(
            _base_.stride_2_pixel_decoder, dilations=(1, 1, 2, 2, 2)
        ),  # the TensorFlow form
        transformer_decoder=dict(num_centers=_base_.num_centers),
    ),
    criterion=dict(
        losses=[
            *_base_.model.criterion.losses[:2],
            _base_.discrimination,
            *_base_.model.criterion.losses[3:],
        ]
    ),
    postprocess=_base_.mask_wise_merge,
)
train_dataloader = dict(
    batch_size=4, num_workers=8, dataset=dict(pipeline=_base_.copy_paste_pipeline)
)
