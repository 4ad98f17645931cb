"""CMT-DeepLab R50, crop 1025, otherwise the full recipe.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-1025.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 9.6 million images at 194.7 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
image_size = (1025, 1025)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
