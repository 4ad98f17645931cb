"""A ResNet-18 from scratch overfits two images: a check that the model can fit real scenes.

    python tools/train.py configs/cmt_deeplab/cmt-deeplab_r18_overfit2_coco-panoptic-256.py --amp
Hardware: 2 CPU cores, about 5 minutes. Expected PQ on these two images: see docs/measurements.md;
it says nothing of any other image. They are panopticapi's sample_data:
data/coco_panoptic_samples/{input_images/,panoptic_examples/,panoptic_examples.json}. This is rung 5
of the ablation ladder; README.md has the command for all rungs on these images.
"""

_base_ = './cmt-deeplab_r18_overfit8_coco-panoptic-320.py'
image_size = (256, 256)
train_cfg = dict(max_iters=300, val_interval=100)
samples = dict(
    data_root='data/coco_panoptic_samples/',
    ann_file='panoptic_examples.json',
    image_size=image_size,
    data_prefix=dict(img='input_images/', seg='panoptic_examples/'),
    indices=None,
)
model = dict(data_preprocessor=dict(size=image_size))
train_dataloader = dict(batch_size=2, num_workers=1, dataset=samples)
val_dataloader = dict(dataset=samples)
test_dataloader = val_dataloader
