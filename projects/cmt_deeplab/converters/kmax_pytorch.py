"""Names of bytedance/kmax-deeplab, the PyTorch code of kMaX-DeepLab, which stands on Detectron2.

Its cluster centers are (D, N) as ours, its vectors' convolutions one-dimensional, and its axial
attention normalizes in joint norms, as ours does. On COCO its classes are things, stuff, void; on
Cityscapes they are in the order of train ids, void last, and the semantic head has no void.
Source: kmax_deeplab/modeling/, convert-tf-weights-to-d2.py.
"""

from torch import Tensor, nn

from cmt_deeplab.models.transformer import KMaXLayer

from .class_order import CITYSCAPES, COCO, from_train_ids
from .form import Form
from .read import read_pytorch
from .table import CodeBase, layer_rows

TABLES = {
    'norm': """
        weight                  .weight
        bias                    .bias
        running_mean            .running_mean
        running_var             .running_var
        num_batches_tracked     .num_batches_tracked
    """,
    'conv': """
        weight                  .weight
        bias                    .bias
    """,
    'conv_norm': """
        conv.                   .conv                                           conv
        norm.                   .norm                                           norm
    """,
    'axial': """
        qkv.conv.               .qkv_transform.conv                             conv
        qkv.norm.               ._batch_norm_qkv                                norm
        query_positions.weight  ._query_rpe._embeddings.weight
        key_positions.weight    ._key_rpe._embeddings.weight
        value_positions.weight  ._value_rpe._embeddings.weight
        similarity_norm.        ._batch_norm_similarity                         norm
        retrieved_norm.         ._batch_norm_retrieved_output                   norm
    """,
    'block': """
        reduce.                 ._conv1_bn_act                                  conv_norm
        middle.                 ._conv2_bn_act                                  conv_norm
        middle.height_axis.     ._attention._height_axis                        axial
        middle.width_axis.      ._attention._width_axis                         axial
        expand.                 ._conv3_bn                                      conv_norm
        shortcut.               ._shortcut                                      conv_norm
    """,
    'predictor': """
        pixel_head.0.           ._pixel_space_head_conv0bnact                   conv_norm
        pixel_head.1.           ._pixel_space_head_conv1bnact                   conv_norm
        pixel_head.2.           ._pixel_space_head_last_convbn                  conv_norm
        mask_head.              ._transformer_mask_head                         conv_norm
        class_head.             ._transformer_class_head                        conv_norm
        mask_norm.              ._pixel_space_mask_batch_norm                   norm
    """,
    'layer': """
        pixel_project.          ._pixel_conv1_bn_act                            conv_norm
        center_project.         ._query_conv1_bn_act                            conv_norm
        pixel_value.            ._pixel_v_conv_bn                               conv_norm
        pooled_update.norm.     ._kmeans_query_batch_norm_retrieved_value       norm
        pooled_update.project.  ._kmeans_query_conv3_bn                         conv_norm
        self_attention.         ''                                              self_attention
        ffn.expand.             ._query_ffn_conv1_bn_act                        conv_norm
        ffn.reduce.             ._query_ffn_conv2_bn                            conv_norm
        predictor.              ._predcitor                                     predictor
    """,  # 'predcitor' is the source's spelling
    'self_attention': """
        qkv.                    ._query_qkv_conv_bn                             conv_norm
        similarity_norm.        ._query_self_attention._batch_norm_similarity   norm
        update.norm.            ._query_self_attention._batch_norm_retrieved_value      norm
        update.project.         ._query_conv3_bn                                conv_norm
    """,
    'resnet_block': """
        conv1.                  .conv1                                          conv
        bn1.                    .conv1.norm                                     norm
        conv2.                  .conv2                                          conv
        bn2.                    .conv2.norm                                     norm
        conv3.                  .conv3                                          conv
        bn3.                    .conv3.norm                                     norm
        downsample.0.           .shortcut                                       conv
        downsample.1.           .shortcut.norm                                  norm
    """,
    'convnext_block': """
        gamma                   .gamma
        conv_dw.                .dwconv                                         conv
        norm.                   .norm                                           conv
        mlp.fc1.                .pwconv1                                        conv
        mlp.fc2.                .pwconv2                                        conv
    """,
    'semantic_head': """
        aspp.branches.{i}.      ._aspp._aspp_conv{i}                        conv_norm
        aspp.pool.1.            ._aspp._aspp_pool                           conv_norm
        aspp.project.           ._aspp._proj_conv_bn_act                    conv_norm
        projections.0.          ._low_level_projection_os8                  conv_norm
        projections.1.          ._low_level_projection_os4                  conv_norm
        fusions.0.{i}.          ._low_level_fusion_os8_conv{i}_bn_act       conv_norm
        fusions.1.{i}.          ._low_level_fusion_os4_conv{i}_bn_act       conv_norm
        head.{i}.               .conv_block_{i}                             conv_norm
        classify.               .final_conv                                 conv_norm
    """,
    'plain_semantic_head': """
        head.{i}.               .{i}                                        conv_norm
        classify.               .2                                          conv_norm
    """,
    # of modules, by class
    'ResNet': """
        conv1.                          backbone.stem.conv1                         conv
        bn1.                            backbone.stem.conv1.norm                    norm
        layer{i}.{j}.                   backbone.res{i+1}.{j}                       resnet_block
    """,
    'TimmBackbone': """
        model.stem_{k}.                 backbone.downsample_layers.0.{k}            conv
        model.stages_{i}.downsample.{k}.    backbone.downsample_layers.{i}.{k}      conv
        model.stages_{i}.blocks.{j}.    backbone.stages.{i}.{j}                     convnext_block
    """,
    'AxialPixelDecoder': """
        input_norms.{i}.    sem_seg_head.pixel_decoder._in_norms.{i}                    conv
        fuses.{i}.low.      sem_seg_head.pixel_decoder._resized_fuses.{i}._conv_bn_low  conv_norm
        fuses.{i}.skip.     sem_seg_head.pixel_decoder._resized_fuses.{i}._conv_bn_high conv_norm
        blocks.{i}.{j}.     sem_seg_head.pixel_decoder._stages.{i}._blocks.{j}          block
    """,
}
TRANSFORMER_DECODER = """
    centers                         sem_seg_head.predictor._cluster_centers.weight
    predictor.class_projection.     sem_seg_head.predictor._class_embedding_projection  conv_norm
    predictor.mask_projection.      sem_seg_head.predictor._mask_embedding_projection   conv_norm
    predictor.                      sem_seg_head.predictor._predcitor                   predictor
"""
LAYERS = 'stages.{}. sem_seg_head.predictor._kmax_transformer_layers.{} layer'
SEMANTIC_HEAD = "'' sem_seg_head.predictor._auxiliary_semantic_predictor {}"
FORM = Form(max_pool=True, pre_activation=False, dilation=1, config='kmax-deeplab_r50.py')


def other_rows(model: nn.Module) -> dict[str, str]:
    """The rows of the transformer decoder and the semantic head of a detector."""
    rows, head = {}, model.panoptic_head
    decoder = head.transformer_decoder
    if all(isinstance(layer, KMaXLayer) for stage in decoder.stages for layer in stage):
        rows['transformer decoder'] = TRANSFORMER_DECODER + layer_rows(decoder, LAYERS)
    plain = isinstance(getattr(head.semantic_head, 'aspp', None), nn.Identity)
    table = 'plain_semantic_head' if plain else 'semantic_head'
    rows['semantic head'] = SEMANTIC_HEAD.format(table)
    return rows


def arrange(name: str, value: Tensor) -> Tensor | None:
    """A tensor of the classifiers in our order of classes; None where the order is not known."""
    if '.class_head.' not in name and '.semantic_head.classify.' not in name:
        return value
    if len(value) == COCO + 1:
        return value
    return from_train_ids(value) if len(value) in (CITYSCAPES, CITYSCAPES + 1) else None


KMAX_PYTORCH = CodeBase(read_pytorch, TABLES, other_rows, FORM, arrange)
