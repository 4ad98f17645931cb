"""kMaX-DeepLab with ConvNeXt-S through timm, crop 1025, batch 64, 150k iterations.

    bash tools/dist_train.sh configs/kmax_deeplab/kmax-deeplab_convnext-s_8xb8-150k_coco-panoptic-1025.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 9.6 million images at 284.6 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: not published at 1025; at 1281: 56.3 (deeplab2) and 56.7 (bytedance/kmax-deeplab). Not trained by us.
"""

_base_ = './kmax-deeplab_convnext-s_8xb8-150k_coco-panoptic-641.py'
image_size = (1025, 1025)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
