"""CMT-DeepLab Axial-R50: crop 1025, batch 64, 200k iterations.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_axial-r50_8xb8-200k_coco-panoptic-1025.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 12.8 million images at 437.5 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: no figure at hand; with RFN and Axial-R104 55.3 is published. Not trained by us.
"""

_base_ = './cmt-deeplab_axial-r50_8xb8-200k_coco-panoptic-641.py'
image_size = (1025, 1025)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
