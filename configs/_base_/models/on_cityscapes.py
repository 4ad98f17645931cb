"""What Cityscapes changes in a model with the axial pixel decoder, beyond counts and input size.

A leaf lists this file among its bases and takes the changes by
    model = dict(_base_.for_model, **_base_.on_cityscapes)
They are 256 centers, a fifth stage of the pixel decoder on the feature of the backbone's stem, a
semantic head without a decoder, whose loss takes the hardest fifth of all pixels and weighs small
instances with 3, and the thresholds of the merge, with areas at 1025x2049.
Sources: deeplab2 ``configs/cityscapes/kmax_deeplab``, ``model/kmax_deeplab.py`` and
``model/loss/max_deeplab_loss.py`` (the temperature 0.6 is its default).
"""

on_cityscapes = dict(
    panoptic_head=dict(
        pixel_decoder=dict(
            kinds=('axial', 'axial', 'bottleneck', 'bottleneck', 'bottleneck'),
            filters=(512, 256, 128, 64, 32),
            num_blocks=(1, 5, 1, 1, 1),
            dilations=(1, 1, 2, 2, 2),
        ),
        transformer_decoder=dict(num_centers=256),
        semantic_head=dict(rates=None, fuse=(), fuse_channels=()),
    ),
    criterion=dict(
        losses=dict(
            discrimination=dict(sample_temperature=0.6),
            semantic=dict(num_samples=None, hardest_share=0.2, small_instance_weight=3.0),
        )
    ),
    postprocess=dict(
        thing_threshold=0.5,
        stuff_threshold=0.3,
        overlap_threshold=0.9,
        mask_weight=0.0,
        thing_area=256,
        stuff_area=2048,
        area_reference=(1025, 2049),
    ),
)
