"""Names of google-research/deeplab2, the TensorFlow code of MaX-DeepLab, kMaX-DeepLab and their ImageNet backbones, trained on COCO.

Names are those of object-based checkpoints: attributes of the Python objects. Its mask classifier has our order: things, stuff, void,
each in the order of COCO's categories; its semantic logits have void first. One norm serves three similarities, (3, 1, h, 1, 1), and
one two retrieved terms, (2, 1, h, 1, d): in this order of axes they are our vectors. Memories are (1, N, D). Source: model/, common.py.
"""

from collections.abc import Iterator

from mmdet.models.backbones import ResNet
from torch import Tensor, nn

from cmt_deeplab.models.backbones import AxialResNet, MaXWideResNet, TimmBackbone
from cmt_deeplab.models.heads.panoptic_head import CMTPanopticHead
from cmt_deeplab.models.pixel_decoders import AxialPixelDecoder, MaXPixelDecoder
from cmt_deeplab.models.transformer import KMaXLayer, MaXLayer

from .form import bottleneck_dilations
from .table import Part, Row, under

NORM = {
    'weight': '/gamma',
    'bias': '/beta',
    'running_mean': '/moving_mean',
    'running_var': '/moving_variance',
    'num_batches_tracked': '/num_batches_tracked',
}  # the last is no name of TensorFlow's: it counts from 0
CONV = {'weight': '/kernel', 'bias': '/bias'}
CONV_NORM = {**under('conv.', '/_conv', CONV), **under('norm.', '/_batch_norm', NORM)}
SEPARABLE = {
    '0.conv.weight': '/_depthwise/_depthwise_conv/depthwise_kernel',
    **under('0.norm.', '/_depthwise/_batch_norm', NORM),
    **under('1.', '/_pointwise', CONV_NORM),
}
AXIAL = {
    'qkv.conv.weight': '/qkv_kernel',
    **under('qkv.norm.', '/_batch_norm_qkv', NORM),
    'query_positions.weight': '/_query_rpe/embeddings',
    'key_positions.weight': '/_key_rpe/embeddings',
    'value_positions.weight': '/_value_rpe/embeddings',
    **under('similarity_norm.', '/_batch_norm_similarity', NORM),
    **under('retrieved_norm.', '/_batch_norm_retrieved_output', NORM),
}
BLOCK = {  # bottleneck and axial blocks
    **under('reduce.', '/_conv1_bn_act', CONV_NORM),
    **under('middle.', '/_conv2_bn_act', CONV_NORM),
    **under('middle.height_axis.', '/_attention/_height_axis', AXIAL),
    **under('middle.width_axis.', '/_attention/_width_axis', AXIAL),
    **under('expand.', '/_conv3_bn', CONV_NORM),
    **under('conv1.', '/_conv1_bn_act', CONV_NORM),  # basic blocks
    **under('conv2.', '/_conv2_bn', CONV_NORM),
    **under('shortcut.', '/_shortcut', CONV_NORM),
}
CENTERS = {  # of both kinds of layers
    **under('pixel_project.', '/_pixel_conv1_bn_act', CONV_NORM),
    **under('center_project.', '/_memory_conv1_bn_act', CONV_NORM),
    **under('ffn.expand.', '/_memory_ffn_conv1_bn_act', CONV_NORM),
    **under('ffn.reduce.', '/_memory_ffn_conv2_bn', CONV_NORM),
}
MAX_LAYER = {
    **CENTERS,
    **under('pixel_qkv.', '/_pixel_qkv_conv_bn', CONV_NORM),
    **under('center_qkv.', '/_memory_qkv_conv_bn', CONV_NORM),
    **under('memory_similarity_norm.', '/_memory_attention/_batch_norm_similarity', NORM),
    **under('memory_update.norm.', '/_memory_attention/_batch_norm_retrieved_value', NORM),
    **under('memory_update.project.', '/_memory_conv3_bn', CONV_NORM),
    **under('pixel_similarity_norm.', '/_pixel_attention/_batch_norm_similarity', NORM),
    **under('pixel_update.norm.', '/_pixel_attention/_batch_norm_retrieved_value', NORM),
    **under('pixel_update.project.', '/_pixel_conv3_bn', CONV_NORM),
}
KMAX_LAYER = {
    **CENTERS,
    **under('pixel_value.', '/_pixel_v_conv_bn', CONV_NORM),
    **under('pooled_update.norm.', '/_kmeans_memory_batch_norm_retrieved_value', NORM),
    **under('pooled_update.project.', '/_kmeans_memory_conv3_bn', CONV_NORM),
    **under('self_attention.qkv.', '/_memory_qkv_conv_bn', CONV_NORM),
    **under('self_attention.similarity_norm.', '/_memory_attention/_batch_norm_similarity', NORM),
    **under('self_attention.update.norm.', '/_memory_attention/_batch_norm_retrieved_value', NORM),
    **under('self_attention.update.project.', '/_memory_conv3_bn', CONV_NORM),
}
PREDICTOR = {
    **under('pixel_head.', 'pixel_space_head/conv_block/_conv1_bn_act', SEPARABLE),
    **under('pixel_head.2.conv.', 'pixel_space_head/final_conv', CONV),
    **under('pixel_head.2.norm.', 'pixel_space_feature_batch_norm', NORM),
    **under('mask_head.', 'transformer_mask_head', CONV_NORM),
    **under('class_head.', 'transformer_class_head', CONV_NORM),
    **under('mask_norm.', 'pixel_space_mask_batch_norm', NORM),
}
SEMANTIC_HEAD = {
    **under('aspp.branches.0.', 'semantic_decoder/_aspp/_conv_bn_act', CONV_NORM),
    **under('aspp.branches.1.', 'semantic_decoder/_aspp/_aspp_conv1/_conv_bn_act', CONV_NORM),
    **under('aspp.branches.2.', 'semantic_decoder/_aspp/_aspp_conv2/_conv_bn_act', CONV_NORM),
    **under('aspp.branches.3.', 'semantic_decoder/_aspp/_aspp_conv3/_conv_bn_act', CONV_NORM),
    **under('aspp.pool.1.', 'semantic_decoder/_aspp/_aspp_pool/_conv_bn_act', CONV_NORM),
    **under('aspp.project.', 'semantic_decoder/_aspp/_proj_conv_bn_act', CONV_NORM),
    **under('projections.0.', 'semantic_decoder/_low_level_conv1', CONV_NORM),
    **under('projections.1.', 'semantic_decoder/_low_level_conv2', CONV_NORM),
    **under('fusions.0.', 'semantic_decoder/_fusion_conv1/_conv1_bn_act', SEPARABLE),
    **under('fusions.1.', 'semantic_decoder/_fusion_conv2/_conv1_bn_act', SEPARABLE),
    **under('head.', 'semantic_head_without_last_layer/_conv1_bn_act', SEPARABLE),
}
CONVNEXT_BLOCK = {
    'gamma': '/layer_scale',
    **under('conv_dw.', '/depthwise_conv', CONV),
    **under('norm.', '/norm', NORM),
    **under('mlp.fc1.', '/pointwise_conv1', CONV),
    **under('mlp.fc2.', '/pointwise_conv2', CONV),
}
# MaX-DeepLab's encoder goes on where our backbone ends. One entry a stage of our pixel decoder: the group of blocks that it is in the
# source, the first of its blocks, and whether it is pretrained on ImageNet.
Group = tuple[str, int, bool]
MAX_S_GROUPS: list[Group] = [
    ('_stage5', 1, True),
    ('_stage5', 2, True),
    ('_stage5', 3, True),
    ('_stage5_extra', 1, False),
    ('_decoder_stage1_extra', 1, False),
    ('_decoder_stage2_extra', 1, False),
]
MAX_L_GROUPS: list[Group] = [
    *((f'_stage{stage}', block, True) for stage in (4, 5) for block in (1, 2, 3)),
    *((f'_decoder_stage{stage}', 1, True) for stage in (1, 2, 3, 4)),
    *(('_decoder_stage4_extra', block, False) for block in (1, 2, 3)),
    *((f'_decoder_stage{stage}_extra', 1, False) for stage in (5, 6, 7)),
    *(('_decoder_stage8_extra', block, False) for block in (1, 2, 3)),
    *((f'_decoder_stage{stage}_extra', 1, False) for stage in (9, 10)),
]


def void_last(logits: Tensor) -> Tensor:
    """Class channels (C+1, ...) from void first to void last."""
    return logits.roll(-1, dims=0)


def slots_last(memory: Tensor) -> Tensor:
    """(1, N, D) to (1, D, N)."""
    return memory.transpose(1, 2)


def deeplab2_table(model: nn.Module) -> list[Part]:
    """The parts that ``model``, a detector, can take from a checkpoint of deeplab2."""
    backbone = model.backbone
    unfit = 'its network has no max pooling; set model.backbone.with_max_pool=False, as kmax-deeplab_r50-tf.py does'
    parts = [
        Part(
            'backbone',
            list(_backbone(backbone)),
            required=True,
            unfit=unfit if getattr(backbone, 'with_max_pool', False) else '',
        )
    ]
    head = getattr(model, 'panoptic_head', None)
    if not isinstance(head, CMTPanopticHead):
        return parts
    if isinstance(head.pixel_decoder, AxialPixelDecoder):
        parts.append(
            Part(
                'pixel decoder', list(_kmax_pixel_decoder(head.pixel_decoder)), unfit=_unfit(model)
            )
        )
    elif isinstance(head.pixel_decoder, MaXPixelDecoder):
        groups = MAX_L_GROUPS if isinstance(backbone, MaXWideResNet) else MAX_S_GROUPS
        for name, pretrained in (
            ('pretrained stages of the pixel decoder', True),
            ('other stages of the pixel decoder', False),
        ):
            parts.append(
                Part(name, list(_max_pixel_decoder(head.pixel_decoder, groups, pretrained)))
            )
    layers = {type(layer) for stage in head.transformer_decoder.stages for layer in stage}
    if layers == {KMaXLayer}:
        parts.append(
            Part('transformer decoder', list(_kmax_transformer_decoder(head.transformer_decoder)))
        )
    elif layers == {MaXLayer} and isinstance(head.pixel_decoder, MaXPixelDecoder):
        parts.append(
            Part(
                'transformer decoder',
                list(_max_transformer_decoder(head.transformer_decoder, groups)),
            )
        )
    parts.append(
        Part(
            'semantic head',
            [
                Row('', 'panoptic_head.semantic_head', SEMANTIC_HEAD),
                Row(
                    'semantic_last_layer',
                    'panoptic_head.semantic_head.classify.conv',
                    CONV,
                    void_last,
                ),
            ],
        )
    )
    return parts


def _unfit(model: nn.Module) -> str:
    if not getattr(model.backbone, 'pre_activation_outputs', True):
        return 'it reads features before their activation; set model.backbone.pre_activation_outputs=True, as kmax-deeplab_r50-tf.py does'
    if bottleneck_dilations(model.panoptic_head.pixel_decoder) - {2}:
        return (
            'its bottleneck blocks are dilated; set model.panoptic_head.pixel_decoder.dilations=(1, 1, 2, 2), as '
            'kmax-deeplab_r50-tf.py does'
        )
    return ''


def _backbone(backbone: nn.Module) -> Iterator[Row]:
    if isinstance(backbone, ResNet):
        yield from _resnet(backbone)
    elif isinstance(backbone, AxialResNet):
        for i, name in enumerate(('_conv1_bn_act', '_conv2_bn_act', '_conv3_bn')):
            yield Row(f'encoder/_stem/{name}', f'backbone.stem.{i}', CONV_NORM)
        for stage in (2, 3, 4, 5):
            for j, _ in enumerate(getattr(backbone, f'stage{stage}', ())):
                yield Row(
                    f'encoder/_stage{stage}/_block{j + 1}', f'backbone.stage{stage}.{j}', BLOCK
                )
    elif isinstance(backbone, MaXWideResNet):
        yield Row('encoder/_stem', 'backbone.stem', CONV_NORM)
        for i, blocks in enumerate(backbone.stages):
            for j, _ in enumerate(blocks):
                yield Row(f'encoder/_stage{i + 1}/_block{j + 1}', f'backbone.stages.{i}.{j}', BLOCK)
    elif isinstance(backbone, TimmBackbone):
        yield from _convnext(backbone)


def _resnet(backbone: ResNet) -> Iterator[Row]:
    yield Row('encoder/_stem/_conv', 'backbone.conv1', CONV)
    yield Row('encoder/_stem/_batch_norm', 'backbone.bn1', NORM)
    for stage, name in enumerate(backbone.res_layers, start=2):
        for i, _ in enumerate(getattr(backbone, name)):
            source, target = f'encoder/_stage{stage}/_block{i + 1}', f'backbone.{name}.{i}'
            for k, theirs in enumerate(('_conv1_bn_act', '_conv2_bn_act', '_conv3_bn'), start=1):
                yield Row(f'{source}/{theirs}/_conv', f'{target}.conv{k}', CONV)
                yield Row(f'{source}/{theirs}/_batch_norm', f'{target}.bn{k}', NORM)
            yield Row(f'{source}/_shortcut/_conv', f'{target}.downsample.0', CONV)
            yield Row(f'{source}/_shortcut/_batch_norm', f'{target}.downsample.1', NORM)


def _convnext(backbone: TimmBackbone) -> Iterator[Row]:
    # Keras counts the layers of a sequence that have weights.
    yield Row('encoder/downsample_layers/0/layer_with_weights-0', 'backbone.model.stem_0', CONV)
    yield Row('encoder/downsample_layers/0/layer_with_weights-1', 'backbone.model.stem_1', NORM)
    for stage in range(4):
        sequence, ours = f'encoder/downsample_layers/{stage}', f'backbone.model.stages_{stage}'
        yield Row(f'{sequence}/layer_with_weights-0', f'{ours}.downsample.0', NORM)
        yield Row(f'{sequence}/layer_with_weights-1', f'{ours}.downsample.1', CONV)
        for i, _ in enumerate(backbone.model[f'stages_{stage}'].blocks):
            yield Row(
                f'encoder/stages/{stage}/layer_with_weights-{i}',
                f'{ours}.blocks.{i}',
                CONVNEXT_BLOCK,
            )


def _kmax_pixel_decoder(decoder: AxialPixelDecoder) -> Iterator[Row]:
    ours = 'panoptic_head.pixel_decoder'
    for i, blocks in enumerate(decoder.blocks):
        yield Row(f'pixel_decoder/_backbone_norms/{i}', f'{ours}.input_norms.{i}', NORM)
        if i > 0:
            yield Row(
                f'pixel_decoder/_skip_connections/{i - 1}/_resized_conv_bn1',
                f'{ours}.fuses.{i - 1}.low',
                CONV_NORM,
            )
            yield Row(
                f'pixel_decoder/_skip_connections/{i - 1}/_resized_conv_bn2',
                f'{ours}.fuses.{i - 1}.skip',
                CONV_NORM,
            )
        for j, _ in enumerate(blocks):
            yield Row(f'pixel_decoder/_stages/{i}/_block{j + 1}', f'{ours}.blocks.{i}.{j}', BLOCK)


def _max_pixel_decoder(
    decoder: MaXPixelDecoder, groups: list[Group], pretrained: bool
) -> Iterator[Row]:
    ours, strides = 'panoptic_head.pixel_decoder', decoder.strides
    for i, (group, first_block, is_pretrained) in enumerate(groups):
        if is_pretrained != pretrained:
            continue
        for j, _ in enumerate(decoder.blocks[i]):
            yield Row(f'encoder/{group}/_block{first_block + j}', f'{ours}.blocks.{i}.{j}', BLOCK)
        if i > 0 and strides[i] != strides[i - 1]:
            kind = '_strided_conv_bn' if strides[i] > strides[i - 1] else '_resized_conv_bn'
            yield Row(
                f'encoder/{group}_resized_fuse/{kind}1', f'{ours}.fuses.{i - 1}.previous', CONV_NORM
            )
            for k in (0, 1):
                yield Row(
                    f'encoder/{group}_resized_fuse/_resized_conv_bn{k + 2}',
                    f'{ours}.fuses.{i - 1}.kept.{k}.1',
                    CONV_NORM,
                )


def _kmax_transformer_decoder(decoder: nn.Module) -> Iterator[Row]:
    theirs, ours = 'transformer_decoder', 'panoptic_head.transformer_decoder'
    yield Row(f'{theirs}/cluster_centers', f'{ours}.centers', {'': ''}, slots_last)
    numbered = [
        f'{ours}.stages.{i}.{j}'
        for i, stage in enumerate(decoder.stages)
        for j, _ in enumerate(stage)
    ]
    for number, layer in enumerate(numbered):
        source = f'{theirs}/_kmax_decoder/{number}/_block1_transformer'
        yield Row(source, layer, KMAX_LAYER)
        yield Row(
            f'{source}/_auxiliary_clustering_predictor/',
            f'{layer}.predictor',
            under('', '_', PREDICTOR),
        )
    yield Row(
        f'{theirs}/_class_embedding_projection', f'{ours}.predictor.class_projection', CONV_NORM
    )
    yield Row(
        f'{theirs}/_mask_embedding_projection', f'{ours}.predictor.mask_projection', CONV_NORM
    )
    yield Row('', f'{ours}.predictor', PREDICTOR)


def _max_transformer_decoder(decoder: nn.Module, groups: list[Group]) -> Iterator[Row]:
    ours = 'panoptic_head.transformer_decoder'
    yield Row('encoder/memory_feature', f'{ours}.centers', {'': ''}, slots_last)
    for i, (group, block, _) in enumerate(groups[: len(decoder.stages)]):
        yield Row(f'encoder/{group}/_block{block}_transformer', f'{ours}.stages.{i}.0', MAX_LAYER)
    yield Row('encoder/_class_feature_extra', f'{ours}.predictor.class_projection', CONV_NORM)
    yield Row('encoder/_mask_feature_extra', f'{ours}.predictor.mask_projection', CONV_NORM)
    yield Row('', f'{ours}.predictor', PREDICTOR)
