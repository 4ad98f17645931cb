"""MaskFormer of the size of cmt-deeplab_tiny_shapes.py, on the same generated scenes.

    python tools/misc/make_shapes.py data/shapes
    python tools/train.py configs/peers/maskformer_tiny_shapes.py
Hardware: 2 CPU cores, without mmcv's compiled operators. Cost and measured PQ: docs/compare.md.

Losses, matching, gradient clipping and merge are those of mmdet's config. The backbone, the number
of centers, the batch and the optimizer are those of the tiny CMT-DeepLab; the learning rate is the
best of docs/study.md.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_tiny.py',
    '../_base_/datasets/shapes_panoptic_masks.py',
    '../_base_/schedules/adamw_short.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

channels = 96
attention = dict(embed_dims=channels, num_heads=4, dropout=0.0)
ffn_cfg = dict(embed_dims=channels, feedforward_channels=256, ffn_drop=0.0)
positions = dict(num_feats=channels // 2)
source = mmdet_config('mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py', _base_)
source.merge_from_dict(
    dict(
        model=dict(
            panoptic_head=dict(
                in_channels=[32, 64, 128],
                feat_channels=channels,
                out_channels=channels,
                num_queries=16,
                pixel_decoder=dict(
                    encoder=dict(
                        num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn_cfg)
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
            test_cfg=dict(object_mask_thr=0.3),
        )
    )
)
model = dict(source.model, _delete_=True, backbone=_base_.model.backbone)
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=source.optim_wrapper.clip_grad)
del source
