"""CMT-DeepLab with Axial-R50 at output stride 16, on the skeleton of MaX-DeepLab-S.

Stage 5, whose blocks alternate with CMT layers, is the pixel decoder's first stages: its three blocks and three more of the same kind, all at
stride 16, with nine layers between them; then two bottlenecks at each of strides 8 and 4. The layout is a choice of this project: the one that
comes closest to the published size (95 M parameters, 396 GMACs at 1200x800, both recalled; docs/design.md). Its own: 94.6 M, 390 G.
"""

_base_ = './max-deeplab_s.py'
model = dict(
    panoptic_head=dict(
        pixel_decoder=dict(
            kinds=(
                'axial',
                'axial',
                'axial',
                'axial',
                'axial',
                'axial',
                'bottleneck',
                'bottleneck',
            ),
            filters=(512, 512, 512, 512, 512, 512, 128, 64),
            num_blocks=(1, 1, 1, 1, 1, 1, 2, 2),
            strides=(16, 16, 16, 16, 16, 16, 8, 4),
            drop_path=(0.15, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0, 0.0),
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
        losses=[
            dict(type='PanopticPQLoss', loss_weight=3.0),
            dict(type='PanopticMaskIDLoss', loss_weight=0.3),
            dict(type='PanopticInstanceDiscriminationLoss', loss_weight=1.0),
            dict(type='PanopticSemanticLoss', loss_weight=1.0),
            dict(type='PanopticReferencePointLoss', loss_weight=1.0),
        ]
    ),
    postprocess=dict(_delete_=True, type='PanopticMaskWiseMerge'),
)
