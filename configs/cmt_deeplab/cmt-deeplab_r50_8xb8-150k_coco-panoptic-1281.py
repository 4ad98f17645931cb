"""CMT-DeepLab R50, the full recipe: crop 1281, batch 64, 150k iterations.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each; with fewer: accumulation, see README.md. Cost: 9.6 million images at about 290 GMACs forward.
Expected PQ on COCO val: not published for R50; kMaX-DeepLab R50, of the same recipe and size, reports 53.0. Not trained by us.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
image_size = (1281, 1281)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
