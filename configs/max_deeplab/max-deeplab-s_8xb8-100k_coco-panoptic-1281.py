"""MaX-DeepLab-S, crop 1281, batch 64, 100k iterations.

    bash tools/dist_train.sh configs/max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 6.4 million images at 511.1 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: not published at 1281; 47.9 at 1025 (deeplab2). Not trained by us.
"""

_base_ = './max-deeplab-s_8xb8-100k_coco-panoptic-641.py'
image_size = (1281, 1281)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
