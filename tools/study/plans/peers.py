"""MaskFormer and Mask2Former of mmdet beside the other models, in equal time.

    python tools/study/run.py tools/study/plans/peers.py
Cost: 15 runs of about 6 minutes of one core.
All have the backbone, the number of centers, the data and the batch of the config; losses,
matching and merge are each model's own. The numbers of iterations make the CPU time about equal:
they follow from the times of a training step in docs/compare.md.
"""

config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=2000, num_val=100)
iterations = 2500
baseline = 'CMT-DeepLab'
rows = [
    dict(name='CMT-DeepLab'),
    dict(
        name='MaX-DeepLab', config='configs/max_deeplab/max-deeplab_tiny_shapes.py', iterations=3290
    ),
    dict(
        name='kMaX-DeepLab',
        config='configs/kmax_deeplab/kmax-deeplab_tiny_shapes.py',
        iterations=2775,
    ),
    dict(name='Mask2Former', config='configs/peers/mask2former_tiny_shapes.py', iterations=2810),
    dict(name='MaskFormer', config='configs/peers/maskformer_tiny_shapes.py', iterations=2975),
]
