"""Mask2Former on EfficientNet-Lite0, on the 100 images of coco27_panoptic.py.

    python tools/train.py configs/study/mask2former_lite0_coco27-256.py
Hardware: 2 CPU cores, an hour. A row of tools/study/plans/real_images.py; docs/study.md.

Losses, matching, gradient clipping and merge are those of mmdet's config. The backbone, the number
of centers, the batch and the schedule are those of cmt-deeplab_lite0_coco27-256.py.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_lite0.py',
    '../_base_/datasets/coco27_panoptic_masks.py',
    '../_base_/schedules/adamw_own_data.py',
    '../_base_/default_runtime.py',
]
from cmt_deeplab.mmdet_config import mmdet_config  # noqa: E402  (behind _base_: in text form)

channels = 128
attention = dict(embed_dims=channels, num_heads=4)
ffn_cfg = dict(embed_dims=channels, feedforward_channels=256)
positions = dict(num_feats=channels // 2)
source = mmdet_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py', _base_)
source.merge_from_dict(
    dict(
        model=dict(
            panoptic_head=dict(
                in_channels=[24, 40, 112, 320],
                strides=[4, 8, 16, 32],
                feat_channels=channels,
                out_channels=channels,
                num_queries=64,
                num_transformer_feat_level=3,
                pixel_decoder=dict(
                    num_outs=3,
                    encoder=dict(
                        num_layers=2,
                        layer_cfg=dict(
                            self_attn_cfg=dict(attention, num_levels=3), ffn_cfg=ffn_cfg
                        ),
                    ),
                    positional_encoding=positions,
                ),
                positional_encoding=positions,
                transformer_decoder=dict(
                    num_layers=3,
                    layer_cfg=dict(
                        self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn_cfg
                    ),
                ),
            ),
            train_cfg=dict(num_points=4096),  # as many as the mask has pixels
            test_cfg=dict(object_mask_thr=0.3),
        )
    )
)
model = dict(source.model, _delete_=True, backbone=_base_.model.backbone)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=source.optim_wrapper.clip_grad)
del source
