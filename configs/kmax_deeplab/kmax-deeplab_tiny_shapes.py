"""kMaX-DeepLab of the size of cmt-deeplab_tiny_shapes.py, on the same generated scenes.

    python tools/misc/make_shapes.py data/shapes
    python tools/train.py configs/kmax_deeplab/kmax-deeplab_tiny_shapes.py
Hardware: 2 CPU cores. Cost and measured PQ: docs/compare.md.
Everything but the layer, the weight of unmatched centers and the reference points is that of the
tiny CMT-DeepLab, its loss weights too.
"""

_base_ = '../cmt_deeplab/cmt-deeplab_tiny_shapes.py'
model = dict(
    panoptic_head=dict(transformer_decoder=dict(layer=dict(type='KMaXLayer'))),
    criterion=dict(
        resize_to_final=True,
        losses=dict(pq=dict(unmatched_weight='void_share'), reference_points=None),
    ),
)
