"""kMaX-DeepLab with ConvNeXt-T through timm, the full recipe: crop 1281, batch 64, 150k iterations.

    bash tools/dist_train.sh configs/kmax_deeplab/kmax-deeplab_convnext-t_8xb8-150k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 9.6 million images at 301.8 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: 55.3 (deeplab2) and 55.5 (bytedance/kmax-deeplab). Not trained by us.
"""

_base_ = './kmax-deeplab_convnext-t_8xb8-150k_coco-panoptic-641.py'
image_size = (1281, 1281)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size))
