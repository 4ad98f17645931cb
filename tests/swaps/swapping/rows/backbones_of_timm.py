"""Backbones of timm in CMT-DeepLab."""

from functools import partial

from ..row import Row
from .backbones_of_mmdet import backbone

row = partial(Row, 'Backbones of timm')


def timm(name: str, base: str = 'r50', more: str = '', **options) -> Row:
    """All four levels of strides 4 to 32 are the default; the tiny base reads three."""
    return row(name, backbone(f"type='TimmBackbone', model_name={name!r}{more}"), base, **options)


COARSE = ', out_indices=(1, 2, 3)'  # strides 4, 8 and 16 of a model that begins with stride 2
FINE = ', out_indices=(0, 1, 2)'
AT_96 = ', img_size=96'
ROWS = [
    *[timm(name) for name in ('convnext_atto', 'convnextv2_atto', 'pvt_v2_b0')],
    timm('hgnetv2_b0', unused=('lab.bias',)),  # a shift before a batch norm
    timm('poolformer_s12', 'tiny', FINE),
    *[
        timm(name, 'r50', ', out_indices=(1, 2, 3, 4)')
        for name in (
            'resnet10t',
            'regnety_002',
            'efficientnet_lite0',
            'mobilenetv3_small_050',
            'ghostnet_050',
            'tinynet_e',
            'repghostnet_050',
            'mobilenetv4_conv_small_035',
            'mnasnet_small',
            'lcnet_050',
            'tf_efficientnetv2_b0',
        )
    ],
    *[
        timm(name, 'tiny', COARSE)
        for name in (
            'resnetv2_18',
            'seresnet18',
            'skresnet18',
            'mobileone_s0',
            'res2net50_26w_4s',
            'repvgg_a0',
            'dla34',
            'mobilevit_xxs',
        )
    ],
    timm('hrnet_w18_small', 'r50_96', ', out_indices=(1, 2, 3, 4)'),
    row(
        'test_maxvit at a size of its own',
        backbone("type='TimmBackbone', model_name='test_maxvit', out_indices=(1, 2, 3)"),
        refused='img_size',
    ),
    row(
        'hrnet_w18_small, aligned corners',
        backbone("type='TimmBackbone', model_name='hrnet_w18_small', out_indices=(1, 2, 3, 4)"),
        'r50',
        refused='align_corners',
    ),
    row(
        'resnet10t, levels left out', backbone("type='TimmBackbone', model_name='resnet10t'"), 'r50'
    ),
    *[
        timm(name, 'tiny', FINE)
        for name in (
            'edgenext_xx_small',
            'efficientvit_b0',
            'fasternet_t0',
            'starnet_s050',
            'mambaout_femto',
            'inception_next_atto',
            'tiny_vit_5m_224',
            'fastvit_t8',
        )
    ],
    timm('swin_tiny_patch4_window7_224', 'r50_96', AT_96),
    row(
        'swin_tiny_patch4_window7_224, aligned corners',
        backbone("type='TimmBackbone', model_name='swin_tiny_patch4_window7_224', img_size=97"),
        'r50',
        refused='align_corners',
    ),
    row(
        'swin_tiny_patch4_window7_224 at its own size',
        backbone("type='TimmBackbone', model_name='swin_tiny_patch4_window7_224'"),
        'r50_96',
        refused='img_size',
    ),
    timm('swinv2_tiny_window8_256', 'r50_96', AT_96),
    timm('test_vit', 'tiny'),
    timm('vit_tiny_patch16_224', 'tiny', ', img_size=96'),
    row(
        'a name that timm does not know',
        backbone("type='TimmBackbone', model_name='convnext_teeny'"),
        refused='convnext_teeny',
    ),
    row(
        'a model without feature levels',
        backbone("type='TimmBackbone', model_name='cait_xxs24_224'"),
        refused='cait_xxs24_224',
    ),
    row(
        'a key that the model does not take',
        backbone("type='TimmBackbone', model_name='resnet18', depth=18"),
        refused='depth',
    ),
]
