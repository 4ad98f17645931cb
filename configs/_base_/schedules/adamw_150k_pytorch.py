"""kmax-deeplab's recipe on COCO: as adamw_150k.py, with PyTorch's epsilon and detectron2's warm-up.

Adam's epsilon is 1e-8 and the warm-up starts at a thousandth of the learning rate. Sources:
bytedance/kmax-deeplab ``train_net.py``, ``train_net_utils.py`` and detectron2's WARMUP_FACTOR.
"""

_base_ = './adamw_150k.py'
optim_wrapper = dict(optimizer=dict(eps=1e-8))
param_scheduler = [dict(type='PanopticWarmupPolyLR', start_factor=0.001, by_epoch=False)]
