"""The model of r50.py without aligned corners, on the scenes at 96x96."""

_base_ = './r50.py'
image_size = (96, 96)
train_dataloader = dict(dataset=dict(image_size=image_size))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
model = dict(align_corners=False, data_preprocessor=dict(size=image_size))
