"""Names of google-research/deeplab2, the TensorFlow code of MaX-DeepLab and kMaX-DeepLab.

Names are those of object-based checkpoints: attributes of the Python objects. One norm serves three
similarities, (3, 1, h, 1, 1), and one two retrieved terms, (2, 1, h, 1, d): in this order of axes
they are our vectors. Source: model/, common.py.
"""

TABLES = {
    'norm': """
        weight                      /gamma
        bias                        /beta
        running_mean                /moving_mean
        running_var                 /moving_variance
        num_batches_tracked         /num_batches_tracked
    """,  # TensorFlow has no such counter: it begins at 0
    'conv': """
        weight                      /kernel
        bias                        /bias
    """,
    'conv_norm': """
        conv.                       /_conv                                          conv
        norm.                       /_batch_norm                                    norm
    """,
    'separable': """
        0.conv.weight               /_depthwise/_depthwise_conv/depthwise_kernel
        0.norm.                     /_depthwise/_batch_norm                         norm
        1.                          /_pointwise                                     conv_norm
    """,
    'axial': """
        qkv.conv.weight             /qkv_kernel
        qkv.norm.                   /_batch_norm_qkv                                norm
        query_positions.weight      /_query_rpe/embeddings
        key_positions.weight        /_key_rpe/embeddings
        value_positions.weight      /_value_rpe/embeddings
        similarity_norm.            /_batch_norm_similarity                         norm
        retrieved_norm.             /_batch_norm_retrieved_output                   norm
    """,
    'block': """
        reduce.                     /_conv1_bn_act                                  conv_norm
        middle.                     /_conv2_bn_act                                  conv_norm
        middle.height_axis.         /_attention/_height_axis                        axial
        middle.width_axis.          /_attention/_width_axis                         axial
        expand.                     /_conv3_bn                                      conv_norm
        conv1.                      /_conv1_bn_act                                  conv_norm
        conv2.                      /_conv2_bn                                      conv_norm
        shortcut.                   /_shortcut                                      conv_norm
    """,  # bottleneck, axial and basic blocks
    'attention': """
        similarity_norm.            _attention/_batch_norm_similarity               norm
        update.norm.                _attention/_batch_norm_retrieved_value          norm
        update.project.             _conv3_bn                                       conv_norm
    """,
    'centers': """
        pixel_project.              /_pixel_conv1_bn_act                            conv_norm
        center_project.             /_memory_conv1_bn_act                           conv_norm
        ffn.expand.                 /_memory_ffn_conv1_bn_act                       conv_norm
        ffn.reduce.                 /_memory_ffn_conv2_bn                           conv_norm
    """,
    'max_layer': """
        ''                          ''                                              centers
        pixel_qkv.                  /_pixel_qkv_conv_bn                             conv_norm
        center_qkv.                 /_memory_qkv_conv_bn                            conv_norm
        center_                     /_memory                                        attention
        pixel_                      /_pixel                                         attention
    """,
    'kmax_layer': """
        ''                          ''                                              centers
        pixel_value.                /_pixel_v_conv_bn                               conv_norm
        pooled_update.norm.         /_kmeans_memory_batch_norm_retrieved_value      norm
        pooled_update.project.      /_kmeans_memory_conv3_bn                        conv_norm
        self_attention.qkv.         /_memory_qkv_conv_bn                            conv_norm
        self_attention.             /_memory                                        attention
        predictor.                  /_auxiliary_clustering_predictor/_              predictor
    """,
    'predictor': """
        pixel_head.                 pixel_space_head/conv_block/_conv1_bn_act       separable
        pixel_head.2.conv.          pixel_space_head/final_conv                     conv
        pixel_head.2.norm.          pixel_space_feature_batch_norm                  norm
        mask_head.                  transformer_mask_head                           conv_norm
        class_head.                 transformer_class_head                          conv_norm
        mask_norm.                  pixel_space_mask_batch_norm                     norm
    """,
    'resnet_block': """
        conv1.                      /_conv1_bn_act/_conv                            conv
        bn1.                        /_conv1_bn_act/_batch_norm                      norm
        conv2.                      /_conv2_bn_act/_conv                            conv
        bn2.                        /_conv2_bn_act/_batch_norm                      norm
        conv3.                      /_conv3_bn/_conv                                conv
        bn3.                        /_conv3_bn/_batch_norm                          norm
        downsample.0.               /_shortcut/_conv                                conv
        downsample.1.               /_shortcut/_batch_norm                          norm
    """,
    'convnext_block': """
        gamma                       /layer_scale
        conv_dw.                    /depthwise_conv                                 conv
        norm.                       /norm                                           norm
        mlp.fc{k}.                  /pointwise_conv{k}                              conv
    """,
    # of modules, by class
    'ResNet': """
        conv1.                      encoder/_stem/_conv                             conv
        bn1.                        encoder/_stem/_batch_norm                       norm
        layer{i}.{j}.               encoder/_stage{i+1}/_block{j+1}                 resnet_block
    """,
    'AxialResNet': """
        stem.0.                     encoder/_stem/_conv1_bn_act                     conv_norm
        stem.1.                     encoder/_stem/_conv2_bn_act                     conv_norm
        stem.2.                     encoder/_stem/_conv3_bn                         conv_norm
        stage{i}.{j}.               encoder/_stage{i}/_block{j+1}                   block
    """,
    'MaXWideResNet': """
        stem.                       encoder/_stem                                   conv_norm
        stages.{i}.{j}.             encoder/_stage{i+1}/_block{j+1}                 block
    """,
    'TimmBackbone': """
        model.stem_0.                   encoder/downsample_layers/0/layer_with_weights-0    conv
        model.stem_1.                   encoder/downsample_layers/0/layer_with_weights-1    norm
        model.stages_{i}.downsample.0.  encoder/downsample_layers/{i}/layer_with_weights-0  norm
        model.stages_{i}.downsample.1.  encoder/downsample_layers/{i}/layer_with_weights-1  conv
        model.stages_{i}.blocks.{j}.    encoder/stages/{i}/layer_with_weights-{j}   convnext_block
    """,  # a ConvNeXt: Keras counts the layers of a sequence that have weights
    'AxialPixelDecoder': """
        input_norms.{i}.    pixel_decoder/_backbone_norms/{i}                           norm
        fuses.{i}.low.      pixel_decoder/_skip_connections/{i}/_resized_conv_bn1       conv_norm
        fuses.{i}.skip.     pixel_decoder/_skip_connections/{i}/_resized_conv_bn2       conv_norm
        blocks.{i}.{j}.     pixel_decoder/_stages/{i}/_block{j+1}                       block
    """,
}
KMAX_DECODER = """
    centers                         transformer_decoder/cluster_centers
    predictor.class_projection.     transformer_decoder/_class_embedding_projection     conv_norm
    predictor.mask_projection.      transformer_decoder/_mask_embedding_projection      conv_norm
    predictor.                      ''                                                  predictor
"""
KMAX_LAYERS = 'stages.{}. transformer_decoder/_kmax_decoder/{}/_block1_transformer kmax_layer'
MAX_DECODER = """
    centers                         encoder/memory_feature
    predictor.class_projection.     encoder/_class_feature_extra                        conv_norm
    predictor.mask_projection.      encoder/_mask_feature_extra                         conv_norm
    predictor.                      ''                                                  predictor
"""
SEMANTIC_HEAD = """
    aspp.branches.0.        semantic_decoder/_aspp/_conv_bn_act                         conv_norm
    aspp.branches.{i}.      semantic_decoder/_aspp/_aspp_conv{i}/_conv_bn_act           conv_norm
    aspp.pool.1.            semantic_decoder/_aspp/_aspp_pool/_conv_bn_act              conv_norm
    aspp.project.           semantic_decoder/_aspp/_proj_conv_bn_act                    conv_norm
    projections.{i}.        semantic_decoder/_low_level_conv{i+1}                       conv_norm
    fusions.{i}.            semantic_decoder/_fusion_conv{i+1}/_conv1_bn_act            separable
    head.                   semantic_head_without_last_layer/_conv1_bn_act              separable
    classify.conv.          semantic_last_layer                                         conv
"""
# MaX-DeepLab's encoder goes on where our backbone ends. For each stage of our pixel decoder: the
# group of blocks that it is in the source, and the number of its first block. The first stages, as
# many as the number before the table says, are pretrained on ImageNet.
MAX_S_STAGES = (
    3,
    """
    _stage5                 1
    _stage5                 2
    _stage5                 3
    _stage5_extra           1
    _decoder_stage1_extra   1
    _decoder_stage2_extra   1
    """,
)
MAX_L_STAGES = (
    10,
    """
    _stage4                 1
    _stage4                 2
    _stage4                 3
    _stage5                 1
    _stage5                 2
    _stage5                 3
    _decoder_stage1         1
    _decoder_stage2         1
    _decoder_stage3         1
    _decoder_stage4         1
    _decoder_stage4_extra   1
    _decoder_stage4_extra   2
    _decoder_stage4_extra   3
    _decoder_stage5_extra   1
    _decoder_stage6_extra   1
    _decoder_stage7_extra   1
    _decoder_stage8_extra   1
    _decoder_stage8_extra   2
    _decoder_stage8_extra   3
    _decoder_stage9_extra   1
    _decoder_stage10_extra  1
    """,
)
