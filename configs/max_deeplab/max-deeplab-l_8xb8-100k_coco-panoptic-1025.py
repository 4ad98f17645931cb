"""MaX-DeepLab-L: crop 1025, batch 64, 100k iterations.

    bash tools/dist_train.sh \
        configs/max_deeplab/max-deeplab-l_8xb8-100k_coco-panoptic-1025.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 6.4 million images at 3691.9 GMACs forward
(tools/analysis_tools/get_flops.py).
Activations are recomputed in the backward pass (with_cp), so that 8 images fit into 80 GB.
Expected PQ on COCO val: 50.9 (deeplab2; 51.1 after 200k, 51.3 after 400k iterations). Not trained
by us.
Stages 4 and 5 and the first hourglass are pretrained as the backbone is.
"""

_base_ = './max-deeplab-l_8xb8-100k_coco-panoptic-641.py'
image_size = (1025, 1025)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(data_preprocessor=dict(size=image_size), with_cp=True)
