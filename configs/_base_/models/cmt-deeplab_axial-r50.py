"""CMT-DeepLab with Axial-R50 at output stride 16, on the skeleton of MaX-DeepLab-S.

Stage 5, whose blocks alternate with CMT layers, is the pixel decoder's first stages: its three
blocks and three more of the same kind, all at stride 16, with nine layers between them; then two
bottlenecks at each of strides 8 and 4. The layout is a choice of this project: the one that comes
closest to the published size (95 M parameters, 396 GMACs at 1200x800, both recalled;
docs/design.md). Its own size: 94.6 M parameters, 390 GMACs.
"""

_base_ = './max-deeplab_s.py'
model = dict(
    panoptic_head=dict(
        pixel_decoder=dict(
            kinds=(*('axial',) * 6, 'bottleneck', 'bottleneck'),
            filters=(*(512,) * 6, 128, 64),
            num_blocks=(*(1,) * 6, 2, 2),
            strides=(*(16,) * 6, 8, 4),
            drop_path=(0.15, *(0.2,) * 5, 0.0, 0.0),
        ),
        transformer_decoder=dict(
            _delete_=True,
            type='CMTTransformerDecoder',
            num_centers=128,
            layers_per_stage=(1, 1, 1, 2, 2, 2),
            layer=dict(type='CMTLayer', drop_path=0.2),
        ),
    ),
    criterion=dict(
        resize_to_final=False,
        losses=dict(
            pq=dict(unmatched_weight='one'),
            discrimination=dict(
                _delete_=True, type='PanopticInstanceDiscriminationLoss', loss_weight=1.0
            ),
            semantic=dict(num_samples=4096),
            reference_points=dict(type='PanopticReferencePointLoss', loss_weight=1.0),
        ),
    ),
    postprocess=dict(_delete_=True, type='PanopticMaskWiseMerge'),
)
