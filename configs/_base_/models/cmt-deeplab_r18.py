"""CMT-DeepLab with a ResNet-18 from scratch and the widths of a short CPU run: axial decoder, one layer a stride, masks at stride 2."""
_base_ = './cmt-deeplab_tiny.py'
model = dict(
    backbone=dict(base_channels=64, stem_channels=64),
    panoptic_head=dict(
        pixel_decoder=dict(filters=(64, 64, 48, 32, 16)),
        transformer_decoder=dict(num_centres=64)))
