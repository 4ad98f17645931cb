"""CMT-DeepLab with mmdet's MSDeformAttnPixelDecoder in place of the axial pixel decoder.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_r50_msdeformattn_8xb8-150k_coco-panoptic-641.py 8
Hardware: 8 GPUs, 8 images each; in fp32 and fp16 mmcv wants its compiled operator there (CPUs do
without). Cost: 150k iterations of 64 images.
Expected PQ: not published, not trained by us.
It makes all strides at once, so the pixel updates of a layer stay at their stride.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
ffn = dict(
    embed_dims=256,
    feedforward_channels=1024,
    num_fcs=2,
    ffn_drop=0.0,
    act_cfg=dict(type='ReLU', inplace=True),
)
attention = dict(
    embed_dims=256, num_heads=8, num_levels=3, num_points=4, dropout=0.0, batch_first=True
)
decoder = dict(
    type='MSDeformAttnPixelDecoder',
    feat_channels=256,
    out_channels=256,
    num_outs=3,
    encoder=dict(num_layers=6, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
)
model = dict(
    panoptic_head=dict(
        pixel_decoder=dict(_delete_=True, type='AllStridesPixelDecoder', decoder=decoder)
    )
)
