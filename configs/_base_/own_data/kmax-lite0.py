"""kMaX-DeepLab on EfficientNet-Lite0, pretrained on ImageNet: as cmt-lite0, and a seventh faster.

The k-means layers cost less than those of CMT, and so does an auxiliary semantic head that ends at
stride 8. A leaf takes the data by ``own_data`` (docs/own_data.md).
"""

_base_ = './cmt-lite0.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(
            layer=dict(
                _delete_=True,
                type='KMaXLayer',
                hidden_channels=128,
                heads=4,
                key_channels=64,
                value_channels=128,
                ffn_channels=256,
                drop_path=0.0,
            )
        ),
        semantic_head=dict(fuse=(2,), fuse_channels=(48,)),
    ),
    criterion=dict(resize_to_final=True),
)
