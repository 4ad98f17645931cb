"""Names of bytedance/kmax-deeplab, the PyTorch code of kMaX-DeepLab, which stands on Detectron2: a ResNet or ConvNeXt of COCO's classes.

Its classes are in our order: things, stuff, void, each in the order of COCO's categories. Its cluster centers are (D, N), its vectors'
convolutions one-dimensional; its axial attention normalizes in joint norms, as ours does. Source: kmax_deeplab/modeling/.
"""

from collections.abc import Iterator

from mmdet.models.backbones import ResNet
from torch import nn

from cmt_deeplab.models.backbones import TimmBackbone
from cmt_deeplab.models.heads.panoptic_head import CMTPanopticHead
from cmt_deeplab.models.pixel_decoders import AxialPixelDecoder
from cmt_deeplab.models.transformer import KMaXLayer

from .form import bottleneck_dilations
from .table import Part, Row, under

NORM = {
    name: f'.{name}'
    for name in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
}
PLAIN = {name: f'.{name}' for name in ('weight', 'bias')}
CONV_NORM = {**under('conv.', '.conv', PLAIN), **under('norm.', '.norm', NORM)}
AXIAL = {
    'qkv.conv.weight': '.qkv_transform.conv.weight',
    **under('qkv.norm.', '._batch_norm_qkv', NORM),
    'query_positions.weight': '._query_rpe._embeddings.weight',
    'key_positions.weight': '._key_rpe._embeddings.weight',
    'value_positions.weight': '._value_rpe._embeddings.weight',
    **under('similarity_norm.', '._batch_norm_similarity', NORM),
    **under('retrieved_norm.', '._batch_norm_retrieved_output', NORM),
}
PREDICTOR = {
    **under('pixel_head.0.', '._pixel_space_head_conv0bnact', CONV_NORM),
    **under('pixel_head.1.', '._pixel_space_head_conv1bnact', CONV_NORM),
    **under('pixel_head.2.', '._pixel_space_head_last_convbn', CONV_NORM),
    **under('mask_head.', '._transformer_mask_head', CONV_NORM),
    **under('class_head.', '._transformer_class_head', CONV_NORM),
    **under('mask_norm.', '._pixel_space_mask_batch_norm', NORM),
}
LAYER = {
    **under('pixel_project.', '._pixel_conv1_bn_act', CONV_NORM),
    **under('center_project.', '._query_conv1_bn_act', CONV_NORM),
    **under('pixel_value.', '._pixel_v_conv_bn', CONV_NORM),
    **under('pooled_update.norm.', '._kmeans_query_batch_norm_retrieved_value', NORM),
    **under('pooled_update.project.', '._kmeans_query_conv3_bn', CONV_NORM),
    **under('self_attention.qkv.', '._query_qkv_conv_bn', CONV_NORM),
    **under(
        'self_attention.similarity_norm.', '._query_self_attention._batch_norm_similarity', NORM
    ),
    **under(
        'self_attention.update.norm.', '._query_self_attention._batch_norm_retrieved_value', NORM
    ),
    **under('self_attention.update.project.', '._query_conv3_bn', CONV_NORM),
    **under('ffn.expand.', '._query_ffn_conv1_bn_act', CONV_NORM),
    **under('ffn.reduce.', '._query_ffn_conv2_bn', CONV_NORM),
    **under('predictor.', '._predcitor', PREDICTOR),  # sic
}
SEMANTIC_HEAD = {
    **under('aspp.branches.0.', '._aspp._aspp_conv0', CONV_NORM),
    **under('aspp.branches.1.', '._aspp._aspp_conv1', CONV_NORM),
    **under('aspp.branches.2.', '._aspp._aspp_conv2', CONV_NORM),
    **under('aspp.branches.3.', '._aspp._aspp_conv3', CONV_NORM),
    **under('aspp.pool.1.', '._aspp._aspp_pool', CONV_NORM),
    **under('aspp.project.', '._aspp._proj_conv_bn_act', CONV_NORM),
    **under('projections.0.', '._low_level_projection_os8', CONV_NORM),
    **under('projections.1.', '._low_level_projection_os4', CONV_NORM),
    **under('fusions.0.0.', '._low_level_fusion_os8_conv0_bn_act', CONV_NORM),
    **under('fusions.0.1.', '._low_level_fusion_os8_conv1_bn_act', CONV_NORM),
    **under('fusions.1.0.', '._low_level_fusion_os4_conv0_bn_act', CONV_NORM),
    **under('fusions.1.1.', '._low_level_fusion_os4_conv1_bn_act', CONV_NORM),
    **under('head.0.', '.conv_block_0', CONV_NORM),
    **under('head.1.', '.conv_block_1', CONV_NORM),
    **under('classify.', '.final_conv', CONV_NORM),
}
CONVNEXT_BLOCK = {
    'gamma': '.gamma',
    **under('conv_dw.', '.dwconv', PLAIN),
    **under('norm.', '.norm', PLAIN),
    **under('mlp.fc1.', '.pwconv1', PLAIN),
    **under('mlp.fc2.', '.pwconv2', PLAIN),
}


def kmax_pytorch_table(model: nn.Module) -> list[Part]:
    """The parts that ``model``, a detector, can take from a checkpoint of the PyTorch code."""
    backbone = model.backbone
    unfit = 'its network has a max pooling; set model.backbone.with_max_pool=True, as kmax-deeplab_r50.py does'
    parts = [
        Part(
            'backbone',
            list(_backbone(backbone)),
            required=True,
            unfit='' if getattr(backbone, 'with_max_pool', True) else unfit,
        )
    ]
    head = getattr(model, 'panoptic_head', None)
    if not isinstance(head, CMTPanopticHead):
        return parts
    if isinstance(head.pixel_decoder, AxialPixelDecoder):
        parts.append(
            Part('pixel decoder', list(_pixel_decoder(head.pixel_decoder)), unfit=_unfit(model))
        )
    layers = [layer for stage in head.transformer_decoder.stages for layer in stage]
    if all(isinstance(layer, KMaXLayer) for layer in layers):
        parts.append(
            Part('transformer decoder', list(_transformer_decoder(head.transformer_decoder)))
        )
    semantic_head = Row(
        'sem_seg_head.predictor._auxiliary_semantic_predictor',
        'panoptic_head.semantic_head',
        SEMANTIC_HEAD,
    )
    parts.append(Part('semantic head', [semantic_head]))
    return parts


def _unfit(model: nn.Module) -> str:
    if getattr(model.backbone, 'pre_activation_outputs', False):
        return 'it reads activated features; set model.backbone.pre_activation_outputs=False, as kmax-deeplab_r50.py does'
    if bottleneck_dilations(model.panoptic_head.pixel_decoder) - {1}:
        return 'its convolutions are not dilated; set model.panoptic_head.pixel_decoder.dilations=(1, 1, 1, 1), as kmax-deeplab_r50.py does'
    return ''


def _backbone(backbone: nn.Module) -> Iterator[Row]:
    if isinstance(backbone, ResNet):
        yield Row('backbone.stem.conv1', 'backbone.conv1', PLAIN)
        yield Row('backbone.stem.conv1.norm', 'backbone.bn1', NORM)
        for stage, name in enumerate(backbone.res_layers, start=2):
            for i, _ in enumerate(getattr(backbone, name)):
                source, target = f'backbone.res{stage}.{i}', f'backbone.{name}.{i}'
                for k in (1, 2, 3):
                    yield Row(f'{source}.conv{k}', f'{target}.conv{k}', PLAIN)
                    yield Row(f'{source}.conv{k}.norm', f'{target}.bn{k}', NORM)
                yield Row(f'{source}.shortcut', f'{target}.downsample.0', PLAIN)
                yield Row(f'{source}.shortcut.norm', f'{target}.downsample.1', NORM)
    elif isinstance(backbone, TimmBackbone):
        for k in (0, 1):
            yield Row(f'backbone.downsample_layers.0.{k}', f'backbone.model.stem_{k}', PLAIN)
        for stage in range(4):
            for k in (0, 1):
                yield Row(
                    f'backbone.downsample_layers.{stage}.{k}',
                    f'backbone.model.stages_{stage}.downsample.{k}',
                    PLAIN,
                )
            for i, _ in enumerate(backbone.model[f'stages_{stage}'].blocks):
                yield Row(
                    f'backbone.stages.{stage}.{i}',
                    f'backbone.model.stages_{stage}.blocks.{i}',
                    CONVNEXT_BLOCK,
                )


def _pixel_decoder(decoder: nn.Module) -> Iterator[Row]:
    theirs, ours = 'sem_seg_head.pixel_decoder', 'panoptic_head.pixel_decoder'
    for i, blocks in enumerate(decoder.blocks):
        yield Row(f'{theirs}._in_norms.{i}', f'{ours}.input_norms.{i}', PLAIN)
        if i > 0:
            yield Row(
                f'{theirs}._resized_fuses.{i - 1}._conv_bn_low',
                f'{ours}.fuses.{i - 1}.low',
                CONV_NORM,
            )
            yield Row(
                f'{theirs}._resized_fuses.{i - 1}._conv_bn_high',
                f'{ours}.fuses.{i - 1}.skip',
                CONV_NORM,
            )
        for j, _ in enumerate(blocks):
            source, target = f'{theirs}._stages.{i}._blocks.{j}', f'{ours}.blocks.{i}.{j}'
            yield Row(f'{source}._conv1_bn_act', f'{target}.reduce', CONV_NORM)
            yield Row(f'{source}._conv2_bn_act', f'{target}.middle', CONV_NORM)
            for axis in ('height_axis', 'width_axis'):
                yield Row(f'{source}._attention._{axis}', f'{target}.middle.{axis}', AXIAL)
            yield Row(f'{source}._conv3_bn', f'{target}.expand', CONV_NORM)
            yield Row(f'{source}._shortcut', f'{target}.shortcut', CONV_NORM)


def _transformer_decoder(decoder: nn.Module) -> Iterator[Row]:
    theirs, ours = 'sem_seg_head.predictor', 'panoptic_head.transformer_decoder'
    yield Row(f'{theirs}._cluster_centers.weight', f'{ours}.centers', {'': ''})
    numbered = [
        f'{ours}.stages.{i}.{j}'
        for i, stage in enumerate(decoder.stages)
        for j, _ in enumerate(stage)
    ]
    for number, layer in enumerate(numbered):
        yield Row(f'{theirs}._kmax_transformer_layers.{number}', layer, LAYER)
    yield Row(
        f'{theirs}._class_embedding_projection', f'{ours}.predictor.class_projection', CONV_NORM
    )
    yield Row(
        f'{theirs}._mask_embedding_projection', f'{ours}.predictor.mask_projection', CONV_NORM
    )
    yield Row(f'{theirs}._predcitor', f'{ours}.predictor', PREDICTOR)  # sic
