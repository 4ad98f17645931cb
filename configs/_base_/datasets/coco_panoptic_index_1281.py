"""The COCO data of coco_panoptic_index.py with crops of 1281x1281 pixels."""

_base_ = './coco_panoptic_index.py'
image_size = (1281, 1281)
for_model = dict(data_preprocessor=dict(size=image_size))
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
