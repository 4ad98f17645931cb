"""Ablation ladder, rung 6: k-means assignment in place of the softmax.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_r50_ladder6-kmeans_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs.
Expected PQ on COCO val: not published, not trained by us.
In each head a pixel goes to one center, without gradient. kMaX-DeepLab goes further and drops what
the rungs 2 to 4 brought. README.md has the whole ladder.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
model = dict(panoptic_head=dict(transformer_decoder=dict(layer=dict(assignment='kmeans'))))
