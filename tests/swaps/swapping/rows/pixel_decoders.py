"""Pixel decoders and necks, ours and mmdet's."""

from functools import partial

from ..row import Row

row = partial(Row, 'Pixel decoders')
neck = partial(Row, 'Necks')
HEAD = ('panoptic_head',)


def decoder(text: str) -> str:
    return f"""
model = dict(panoptic_head=dict(pixel_decoder=dict(
    _delete_=True, {text})))
"""


def before(text: str) -> str:
    return f'\nmodel = dict(neck=dict({text}))\n'


DEFORMABLE = """type='MSDeformAttnPixelDecoder', num_outs=3, feat_channels=64, out_channels=64,
    norm_cfg=dict(type='GN', num_groups=32), act_cfg=dict(type='ReLU'),
    encoder=dict(num_layers=1, layer_cfg=dict(
        self_attn_cfg=dict(embed_dims=64, num_heads=8, num_levels=3, num_points=4,
                           batch_first=True),
        ffn_cfg=dict(embed_dims=64, feedforward_channels=128, num_fcs=2,
                     act_cfg=dict(type='ReLU', inplace=True)))),
    positional_encoding=dict(num_feats=32, normalize=True)"""
ENCODER = """type='TransformerEncoderPixelDecoder', feat_channels=64, out_channels=64,
    norm_cfg=dict(type='GN', num_groups=32), act_cfg=dict(type='ReLU'),
    encoder=dict(num_layers=1, layer_cfg=dict(
        self_attn_cfg=dict(embed_dims=64, num_heads=8, dropout=0.1, batch_first=True),
        ffn_cfg=dict(embed_dims=64, feedforward_channels=128, num_fcs=2,
                     act_cfg=dict(type='ReLU', inplace=True)))),
    positional_encoding=dict(num_feats=32, normalize=True)"""
PLAIN = """type='PixelDecoder', feat_channels=64, out_channels=64,
    norm_cfg=dict(type='GN', num_groups=32), act_cfg=dict(type='ReLU')"""
ROWS = [
    row(
        'AxialPixelDecoder, wider and deeper',
        """
model = dict(panoptic_head=dict(pixel_decoder=dict(
    kinds=('axial', 'axial', 'axial'), filters=(64, 48, 32), num_blocks=(2, 1, 2))))
""",
    ),
    row(
        'AxialPixelDecoder, a stage more than the backbone has',
        """
model = dict(
    backbone=dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
    panoptic_head=dict(semantic_head=dict(fuse=(1,), fuse_channels=(32,))))
""",
    ),
    row(
        'AxialPixelDecoder, a list of another length',
        """
model = dict(panoptic_head=dict(pixel_decoder=dict(filters=(64, 32))))
""",
        refused='filters',
    ),
    row(
        'MaXPixelDecoder',
        decoder("""type='MaXPixelDecoder', in_strides=(4, 8, 16),
    kinds=('axial', 'axial', 'bottleneck', 'bottleneck'), filters=(64, 64, 32, 16),
    num_blocks=(1, 1, 1, 1), strides=(16, 16, 8, 4), drop_path=(0.0, 0.0, 0.0, 0.0)"""),
    ),
    row('MSDeformAttnPixelDecoder', decoder(DEFORMABLE), 'r50'),
    row('MSDeformAttnPixelDecoder at 96 pixels', decoder(DEFORMABLE), 'r50_96'),
    row(
        'MSDeformAttnPixelDecoder, three levels',
        decoder(
            DEFORMABLE.replace('num_outs=3', 'num_outs=2').replace('num_levels=3', 'num_levels=2')
        ),
    ),
    row(
        'MSDeformAttnPixelDecoder by AllStridesPixelDecoder',
        decoder(f"type='AllStridesPixelDecoder', decoder=dict({DEFORMABLE})"),
        'r50',
    ),
    row('TransformerEncoderPixelDecoder', decoder(ENCODER), 'r50'),
    row('TransformerEncoderPixelDecoder, three levels', decoder(ENCODER)),
    row('PixelDecoder', decoder(PLAIN), 'r50'),
    row('PixelDecoder, three levels', decoder(PLAIN)),
    row('FPN', decoder("type='FPN', out_channels=64, num_outs=4"), 'r50'),
    row('FPN, three levels', decoder("type='FPN', out_channels=64, num_outs=3")),
    row(
        'FPN with norms and an extra level',
        decoder(
            "type='FPN', out_channels=64, num_outs=5, add_extra_convs='on_input',\n"
            "    norm_cfg=dict(type='BN')"
        ),
        'r50',
        unused=('panoptic_head.pixel_decoder.decoder.fpn_convs.4',),
    ),
    row('PAFPN', decoder("type='PAFPN', out_channels=64, num_outs=4"), 'r50'),
    row('YOLOXPAFPN', decoder("type='YOLOXPAFPN', out_channels=64, num_csp_blocks=1")),
    row('CSPNeXtPAFPN', decoder("type='CSPNeXtPAFPN', out_channels=64, num_csp_blocks=1")),
    row(
        'ChannelMapper', decoder("type='ChannelMapper', out_channels=64, kernel_size=1, num_outs=3")
    ),
    row('HRFPN', decoder("type='HRFPN', out_channels=64, num_outs=3")),
    row(
        'NASFPN',
        decoder(
            "type='NASFPN', out_channels=64, num_outs=5, stack_times=1,\n"
            "    norm_cfg=dict(type='BN')"
        ),
        'r50',
    ),
    row('FPN_DropBlock', decoder("type='FPN_DropBlock', out_channels=64, num_outs=3")),
    row(
        'SSH',
        decoder("type='SSH', num_scales=3, in_channels=[32, 64, 128], out_channels=[64, 64, 64]"),
    ),
    row(
        'YOLOV3Neck',
        decoder(
            "type='YOLOV3Neck', num_scales=3, in_channels=[128, 64, 32],\n"
            '    out_channels=[64, 32, 16]'
        ),
    ),
    row(
        'CTResNetNeck',
        decoder(
            "type='CTResNetNeck', in_channels=128, num_deconv_filters=(64, 32),\n"
            '    num_deconv_kernels=(4, 4), use_dcn=False'
        ),
    ),
    row(
        'FPN and BFP',
        """
model = dict(panoptic_head=dict(pixel_decoder=[
    dict(type='FPN', out_channels=64, num_outs=4),
    dict(type='BFP', in_channels=64, num_levels=4, refine_level=1)]))
""",
        'r50',
    ),
    row(
        'DyHead',
        decoder("type='DyHead', in_channels=64, out_channels=64, num_blocks=1"),
        refused='DyHead',
    ),
    row(
        'FPN_CARAFE',
        decoder("type='FPN_CARAFE', out_channels=64, num_outs=3"),
        refused='compiled operator',
    ),
    row(
        'SSDNeck',
        decoder(
            "type='SSDNeck', out_channels=(32, 64, 128, 64), level_strides=(2,),\n"
            '    level_paddings=(1,), l2_norm_scale=None'
        ),
        refused='SSDNeck',
    ),
    row('a part of another slot', decoder("type='CMTPredictor'"), refused='pixel_decoder'),
    row('a pixel decoder of another name', decoder("type='AxialDecoder'"), refused='AxialDecoder'),
    row(
        'FPN without _delete_',
        """
model = dict(panoptic_head=dict(pixel_decoder=dict(type='FPN', out_channels=64, num_outs=3)))
""",
        refused='_delete_',
    ),
    # necks
    neck(
        'FPN',
        before("type='FPN', in_channels=[32, 64, 128], out_channels=64, num_outs=3"),
        learns=('backbone', 'neck', 'panoptic_head'),
    ),
    neck(
        'FPN, in_channels left out',
        before("type='FPN', out_channels=64, num_outs=4"),
        'r50',
        learns=('backbone', 'neck', 'panoptic_head'),
    ),
    neck(
        'FPN, in_channels of another backbone',
        before("type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=64, num_outs=4"),
        'r50',
        refused='in_channels',
    ),
    neck(
        'PAFPN',
        before("type='PAFPN', out_channels=64, num_outs=4"),
        'r50',
        learns=('backbone', 'neck', 'panoptic_head'),
    ),
    neck(
        'ChannelMapper',
        before("type='ChannelMapper', out_channels=64, num_outs=3"),
        learns=('backbone', 'neck', 'panoptic_head'),
    ),
    neck(
        'FPN and BFP',
        """
model = dict(neck=[
    dict(type='FPN', out_channels=64, num_outs=4),
    dict(type='BFP', in_channels=64, num_levels=4, refine_level=2, refine_type='non_local')])
""",
        'r50',
        learns=('backbone', 'neck', 'panoptic_head'),
    ),
    neck(
        'CSPNeXtPAFPN',
        before("type='CSPNeXtPAFPN', out_channels=64, num_csp_blocks=1"),
        learns=('backbone', 'neck', 'panoptic_head'),
    ),
    neck(
        'FPN before MSDeformAttnPixelDecoder',
        f"""
model = dict(
    neck=dict(type='FPN', out_channels=64, num_outs=4),
    panoptic_head=dict(pixel_decoder=dict(
    _delete_=True, {DEFORMABLE})))
""",
        'r50',
        learns=('backbone', 'neck', 'panoptic_head'),
    ),
    neck(
        'DilatedEncoder, which gives one level',
        before(
            "type='DilatedEncoder', in_channels=128, out_channels=64, block_mid_channels=32,\n"
            '    num_residual_blocks=2, block_dilations=[2, 4]'
        ),
        refused='neck',
    ),
]
