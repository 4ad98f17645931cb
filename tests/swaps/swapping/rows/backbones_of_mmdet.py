"""Backbones of mmdet in CMT-DeepLab, and what configs of mmdet set in them."""

from functools import partial

from ..row import Row

row = partial(Row, 'Backbones of mmdet')
option = partial(Row, 'Options of backbones')


def backbone(text: str) -> str:
    """The leaf lines that replace the backbone of the base."""
    return f'\nmodel = dict(backbone=dict(_delete_=True, {text}))\n'


THREE = 'num_stages=3,\n    strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2)'

ROWS = [
    row('ResNet', backbone(f"type='ResNet', depth=50, base_channels=16, {THREE}")),
    row('ResNet, four levels', backbone("type='ResNet', depth=50, base_channels=16"), 'r50'),
    row('ResNet, depth 18', backbone("type='ResNet', depth=18, base_channels=16"), 'r50'),
    row('ResNetV1d', backbone(f"type='ResNetV1d', depth=50, base_channels=16, {THREE}")),
    row('ResNetV1d, four levels', backbone("type='ResNetV1d', depth=50, base_channels=16"), 'r50'),
    row(
        'ResNeXt',
        backbone(
            f"type='ResNeXt', depth=50, groups=8, base_width=4, base_channels=16,\n    {THREE}"
        ),
    ),
    row(
        'ResNeXt, four levels',
        backbone("type='ResNeXt', depth=50, groups=8, base_width=4, base_channels=16"),
        'r50',
    ),
    row(
        'Res2Net',
        backbone(
            f"type='Res2Net', depth=50, scales=4, base_width=26, base_channels=16,\n    {THREE}"
        ),
    ),
    row(
        'ResNeSt',
        backbone(
            "type='ResNeSt', stem_channels=16, depth=50, radix=2, reduction_factor=4,\n"
            f'    avg_down_stride=True, base_channels=16, {THREE}'
        ),
    ),
    row(
        'RegNet',
        backbone("type='RegNet', arch='regnetx_400mf', out_indices=(0, 1, 2)"),
        unused=('backbone.layer4',),
    ),
    row('RegNet, four levels', backbone("type='RegNet', arch='regnetx_400mf'"), 'r50'),
    row(
        'HRNet',
        backbone("""
    type='HRNet',
    extra=dict(
        stage1=dict(
            num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,),
            num_channels=(16,)),
        stage2=dict(
            num_modules=1, num_branches=2, block='BASIC', num_blocks=(1, 1),
            num_channels=(8, 16)),
        stage3=dict(
            num_modules=1, num_branches=3, block='BASIC', num_blocks=(1, 1, 1),
            num_channels=(8, 16, 32)),
        stage4=dict(
            num_modules=1, num_branches=4, block='BASIC', num_blocks=(1, 1, 1, 1),
            num_channels=(8, 16, 32, 64)))"""),
        'r50_96',
    ),
    row(
        'MobileNetV2',
        backbone("type='MobileNetV2', out_indices=(1, 2, 4)"),
        unused=('backbone.layer6', 'backbone.layer7', 'backbone.conv2'),
    ),
    row(
        'MobileNetV2, four levels',
        backbone("type='MobileNetV2', out_indices=(1, 2, 4, 6)"),
        'r50',
        unused=('backbone.layer7', 'backbone.conv2'),
    ),
    row('EfficientNet', backbone("type='EfficientNet', arch='b0', out_indices=(2, 3, 4)")),
    row(
        'EfficientNet, four levels',
        backbone("type='EfficientNet', arch='b0', out_indices=(2, 3, 4, 6)"),
        'r50',
    ),
    row(
        'Darknet',
        backbone("type='Darknet', depth=53, out_indices=(2, 3, 4)"),
        unused=('backbone.conv_res_block5',),
    ),
    row('CSPDarknet', backbone("type='CSPDarknet', deepen_factor=0.33, widen_factor=0.25")),
    row(
        'CSPDarknet, four levels',
        backbone(
            "type='CSPDarknet', deepen_factor=0.33, widen_factor=0.25,\n"
            '    out_indices=(1, 2, 3, 4)'
        ),
        'r50_96',
    ),
    row(
        'CSPDarknet, aligned corners',
        backbone(
            "type='CSPDarknet', deepen_factor=0.33, widen_factor=0.25,\n"
            '    out_indices=(1, 2, 3, 4)'
        ),
        'r50',
        refused='align_corners',
    ),
    row('CSPNeXt', backbone("type='CSPNeXt', deepen_factor=0.33, widen_factor=0.25")),
    row(
        'CSPNeXt, four levels',
        backbone(
            "type='CSPNeXt', deepen_factor=0.33, widen_factor=0.25,\n    out_indices=(1, 2, 3, 4)"
        ),
        'r50',
    ),
    row(
        'SwinTransformer',
        backbone(
            "type='SwinTransformer', embed_dims=24, depths=(2, 2, 2), num_heads=(2, 4, 8),\n"
            '    strides=(4, 2, 2), out_indices=(0, 1, 2)'
        ),
    ),
    row(
        'SwinTransformer, four levels',
        backbone("type='SwinTransformer', embed_dims=24, num_heads=(2, 4, 8, 8)"),
        'r50',
    ),
    row(
        'PyramidVisionTransformer',
        backbone("type='PyramidVisionTransformer', num_layers=[1, 1, 1, 1], embed_dims=16"),
        'r50_96',
    ),
    row(
        'PyramidVisionTransformer, aligned corners',
        backbone("type='PyramidVisionTransformer', num_layers=[1, 1, 1, 1], embed_dims=16"),
        'r50',
        refused='align_corners',
    ),
    row(
        'PyramidVisionTransformerV2',
        backbone("type='PyramidVisionTransformerV2', embed_dims=16, num_layers=[1, 1, 1, 1]"),
        'r50',
    ),
    row(
        'DetectoRS_ResNet',
        backbone(
            "type='DetectoRS_ResNet', depth=50, base_channels=16,\n"
            "    conv_cfg=dict(type='ConvAWS')"
        ),
        'r50',
    ),
    row(
        'DetectoRS_ResNeXt',
        backbone("type='DetectoRS_ResNeXt', depth=50, groups=8, base_width=4, base_channels=16"),
        'r50',
    ),
    row(
        'SSDVGG, which has two levels',
        """
model = dict(
    backbone=dict(
        _delete_=True, type='SSDVGG', depth=16, ceil_mode=True, with_last_pool=False),
    panoptic_head=dict(semantic_head=dict(fuse=(1,), fuse_channels=(32,))))
""",
    ),
    row(
        'TridentResNet',
        backbone("""
    type='TridentResNet', trident_dilations=(1, 2, 3), num_branch=3, test_branch_idx=1,
    depth=50, base_channels=16, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1),
    out_indices=(2,)"""),
        refused='TridentResNet',
    ),
    row(
        'MaXWideResNet (ours), which has two levels',
        """
model = dict(
    backbone=dict(_delete_=True, type='MaXWideResNet', num_blocks=(1, 1, 1), drop_path=0.0),
    panoptic_head=dict(semantic_head=dict(fuse=(1,), fuse_channels=(32,))))
""",
    ),
    row(
        'AxialResNet (ours)',
        backbone("""
    type='AxialResNet', num_blocks=(1, 1, 2, 1), width=0.25, drop_path=0.0"""),
        'r50',
    ),
    row(
        'AxialResNet (ours), three levels',
        backbone("""
    type='AxialResNet', num_blocks=(1, 1, 2, 1), width=0.25, drop_path=0.0,
    out_indices=(0, 1, 2)"""),
    ),
    row(
        'PanopticSwinTransformer (ours)',
        backbone("type='PanopticSwinTransformer', embed_dims=24, num_heads=(2, 4, 8, 8)"),
        'r50',
    ),
    # options, as configs of mmdet set them
    option(
        'frozen_stages of PanopticResNet',
        """
model = dict(backbone=dict(frozen_stages=1))
""",
        frozen=('backbone.layer1',),
        learns=('backbone.layer2', 'backbone.layer3', 'panoptic_head'),
    ),
    option(
        'norm_eval of PanopticResNet',
        """
model = dict(backbone=dict(norm_eval=True))
""",
    ),
    option(
        'with_cp of PanopticResNet',
        """
model = dict(backbone=dict(with_cp=True))
""",
        changes='nothing',
    ),
    option(
        'frozen_stages and norm_eval of ResNet',
        backbone(
            f"type='ResNet', depth=18, base_channels=16, {THREE},\n"
            "    frozen_stages=1, norm_eval=True, norm_cfg=dict(type='BN', requires_grad=False),\n"
            '    zero_init_residual=False'
        ),
        frozen=('backbone.layer1', 'backbone.conv1'),
    ),
    option(
        'style, deep_stem and avg_down of ResNet',
        backbone(
            f"type='ResNet', depth=50, base_channels=16, style='caffe', deep_stem=True,\n"
            f'    avg_down=True, {THREE}'
        ),
    ),
    option(
        'ContextBlock in ResNet',
        backbone(
            f"type='ResNet', depth=50, base_channels=16, {THREE},\n"
            "    plugins=[dict(cfg=dict(type='ContextBlock', ratio=1. / 16),\n"
            "                  position='after_conv3', stages=(False, True, True))]"
        ),
    ),
    option(
        'GeneralizedAttention in ResNet',
        backbone(
            f"type='ResNet', depth=50, base_channels=16, {THREE},\n"
            "    plugins=[dict(cfg=dict(type='GeneralizedAttention', spatial_range=-1,\n"
            "                           num_heads=8, attention_type='1111', kv_stride=2),\n"
            "                  position='after_conv2', stages=(False, False, True))],\n"
            '    zero_init_residual=False'
        ),
    ),
    option(
        'deformable convolutions in ResNet',
        backbone(
            f"type='ResNet', depth=50, base_channels=16, {THREE},\n"
            "    dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),\n"
            '    stage_with_dcn=(False, True, True)'
        ),
        refused='compiled operator',
    ),
    option(
        'GN and ConvWS in ResNet',
        backbone(
            f"type='ResNet', depth=50, base_channels=32, {THREE},\n"
            "    conv_cfg=dict(type='ConvWS'), norm_cfg=dict(type='GN', num_groups=32)"
        ),
    ),
    option(
        'frozen_stages of AxialResNet',
        backbone("""
    type='AxialResNet', num_blocks=(1, 1, 2, 1), width=0.25, drop_path=0.0,
    out_indices=(0, 1, 2), frozen_stages=1"""),
        frozen=('backbone.stem', 'backbone.stage2'),
        learns=('backbone.stage3', 'backbone.stage4', 'panoptic_head'),
    ),
    option(
        'norm_eval of AxialResNet',
        backbone("""
    type='AxialResNet', num_blocks=(1, 1, 2, 1), width=0.25, drop_path=0.0,
    out_indices=(0, 1, 2), norm_eval=True"""),
    ),
    option(
        'with_cp of AxialResNet',
        backbone("""
    type='AxialResNet', num_blocks=(1, 1, 2, 1), width=0.25, drop_path=0.0,
    out_indices=(0, 1, 2), with_cp=True"""),
    ),
    option(
        'frozen_stages of TimmBackbone',
        backbone("""
    type='TimmBackbone', model_name='convnext_atto', out_indices=(0, 1, 2),
    frozen_stages=1"""),
        frozen=('backbone.model.stem_0', 'backbone.model.stages_0'),
        learns=('backbone.model.stages_1', 'panoptic_head'),
    ),
    option(
        'norm_eval of TimmBackbone',
        backbone("""
    type='TimmBackbone', model_name='resnet18', out_indices=(1, 2, 3), norm_eval=True"""),
    ),
    option(
        'with_cp of TimmBackbone',
        backbone("""
    type='TimmBackbone', model_name='convnext_atto', out_indices=(0, 1, 2), with_cp=True"""),
    ),
    option(
        'frozen_stages of SwinTransformer',
        backbone(
            "type='SwinTransformer', embed_dims=24, depths=(2, 2, 2), num_heads=(2, 4, 8),\n"
            '    strides=(4, 2, 2), out_indices=(0, 1, 2), frozen_stages=1'
        ),
        frozen=('backbone.patch_embed', 'backbone.stages.0'),
        learns=('backbone.stages.1', 'backbone.stages.2', 'panoptic_head'),
    ),
    option(
        'with_cp of SwinTransformer',
        backbone(
            "type='SwinTransformer', embed_dims=24, depths=(2, 2, 2), num_heads=(2, 4, 8),\n"
            '    strides=(4, 2, 2), out_indices=(0, 1, 2), with_cp=True'
        ),
    ),
    option(
        'two levels in place of three',
        """
model = dict(backbone=dict(out_indices=(1, 2)))
""",
        refused='out_indices',
    ),
    option(
        'levels that the backbone does not have',
        """
model = dict(backbone=dict(out_indices=(0, 1, 2, 3)))
""",
        refused='out_indices',
    ),
    option(
        'pretrained weights of another model',
        backbone(
            f"type='ResNet', depth=18, base_channels=16, {THREE},\n"
            "    init_cfg=dict(type='Pretrained', checkpoint='data/other.pth')"
        ),
        refused='another model',
    ),
    option(
        'a pretrained file that does not exist',
        backbone(
            f"type='ResNet', depth=18, base_channels=16, {THREE},\n"
            "    init_cfg=dict(type='Pretrained', checkpoint='data/absent.pth')"
        ),
        refused='data/absent.pth',
    ),
    option(
        'a key of another backbone, without _delete_',
        """
model = dict(backbone=dict(type='SwinTransformer', embed_dims=24))
""",
        refused='_delete_',
    ),
]
