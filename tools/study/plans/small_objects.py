"""Many small, overlapping objects, on larger feature maps: the rows of layers.py at 128 pixels.

    python tools/study/run.py tools/study/plans/small_objects.py
Cost: 15 runs of about 15 minutes of one core, or of 5 minutes all at once on one GPU.
The scenes are those of the preset standard. The pixel decoder has a fourth stage, at stride 2; a
layer works at strides 16, 8 and 2, the last one on 64x64 pixels. There are 32 centers.
"""

_base_ = './layers.py'
scenes = dict(_delete_=True, preset='standard', num_train=2000, num_val=100)
iterations = 1250
seeds = 3
options = dict(
    model=dict(
        data_preprocessor=dict(size=(128, 128)),
        panoptic_head=dict(
            pixel_decoder=dict(
                kinds=('axial', 'bottleneck', 'bottleneck', 'bottleneck'),
                filters=(64, 32, 32, 16),
                num_blocks=(1, 1, 1, 1),
                dilations=(1, 1, 1, 1),
            ),
            transformer_decoder=dict(num_centers=32, layers_per_stage=(1, 1, 0, 1)),
        ),
    ),
    train_dataloader=dict(dataset=dict(image_size=(128, 128))),
    val_dataloader=dict(dataset=dict(image_size=(128, 128))),
    test_dataloader=dict(dataset=dict(image_size=(128, 128))),
)
