"""CMT-DeepLab Axial-R104-RFN, the full recipe: crop 1281, batch 64, 200k iterations.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_axial-r104-rfn_8xb8-200k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 12.8 million images at 1949.5 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: 55.3 (and 55.7 on test-dev), published. Not trained by us.
"""

_base_ = './cmt-deeplab_axial-r104-rfn_8xb8-200k_coco-panoptic-641.py'
image_size = (1281, 1281)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
