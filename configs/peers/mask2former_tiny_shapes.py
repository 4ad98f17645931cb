"""Mask2Former of the size of cmt-deeplab_tiny_shapes.py, on the same generated scenes.

    python tools/misc/make_shapes.py data/shapes
    python tools/train.py configs/peers/mask2former_tiny_shapes.py
Hardware: 2 CPU cores, without mmcv's compiled operators. Cost and measured PQ: docs/compare.md.

Losses, matching, gradient clipping and merge are those of mmdet's config. The backbone, the number
of centers, the batch and the optimizer are those of the tiny CMT-DeepLab; the learning rate is the
best of docs/study.md. As the backbone ends with stride 16, two levels take part in the deformable
attention.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_tiny.py',
    '../_base_/datasets/shapes_panoptic_masks.py',
    '../_base_/schedules/adamw_short.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

channels = 96
attention = dict(embed_dims=channels, num_heads=4)
ffn_cfg = dict(embed_dims=channels, feedforward_channels=256)
positions = dict(num_feats=channels // 2)
source = mmdet_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', _base_)
source.merge_from_dict(
    dict(
        model=dict(
            panoptic_head=dict(
                in_channels=[32, 64, 128],
                strides=[4, 8, 16],
                feat_channels=channels,
                out_channels=channels,
                num_queries=16,
                num_transformer_feat_level=2,
                pixel_decoder=dict(
                    num_outs=2,
                    encoder=dict(
                        num_layers=2,
                        layer_cfg=dict(
                            self_attn_cfg=dict(attention, num_levels=2), ffn_cfg=ffn_cfg
                        ),
                    ),
                    positional_encoding=positions,
                ),
                positional_encoding=positions,
                transformer_decoder=dict(
                    num_layers=2,
                    layer_cfg=dict(
                        self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn_cfg
                    ),
                ),
            ),
            train_cfg=dict(num_points=576),  # as many as the mask has pixels
            test_cfg=dict(object_mask_thr=0.3),
        )
    )
)
model = dict(source.model, _delete_=True, backbone=_base_.model.backbone)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=source.optim_wrapper.clip_grad)
del source
