"""MaX-DeepLab of the size of cmt-deeplab_tiny_shapes.py, on the same generated scenes.

    python tools/misc/make_shapes.py data/shapes
    python tools/train.py configs/max_deeplab/max-deeplab_tiny_shapes.py
Hardware: 2 CPU cores. Cost and measured PQ: docs/compare.md.
Backbone, pixel decoder and loss weights are those of the tiny CMT-DeepLab. The layer, the losses'
forms, the prediction of the last layer alone and the merge per pixel are those of MaX-DeepLab.
"""

_base_ = '../cmt_deeplab/cmt-deeplab_tiny_shapes.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(layer=dict(type='MaXLayer'), deep_supervision=False)
    ),
    criterion=dict(
        resize_to_final=True,
        losses=dict(
            pq=dict(unmatched_weight='void_share'),
            discrimination=dict(
                _delete_=True, type='PanopticMaskDiscriminationLoss', loss_weight=0.2
            ),
            reference_points=None,
        ),
    ),
    postprocess=dict(
        _delete_=True, type='PanopticPixelWiseMerge', pixel_threshold=0.4, class_threshold=0.3
    ),
)
