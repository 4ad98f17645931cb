"""CMT-DeepLab R50 on COCO at crop 641, to be inherited in mmengine's new style.

A config of your own, in any folder::

    from mmengine.config import read_base

    with read_base():
        from cmt_deeplab.configs.cmt_deeplab_r50_coco_panoptic_641 import *

    from cmt_deeplab.models.transformer import KMaXLayer

    model.panoptic_head.transformer_decoder.layer.type = KMaXLayer
    model.merge(dict(criterion=dict(losses=dict(pq=dict(loss_weight=5.0)))))
    train_cfg.update(max_iters=1000)

Everything is that of the text config
``cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py``.
"""

# mmengine makes a reference of every import statement; this is a call
package = __import__('cmt_deeplab.new_style')
globals().update(package.new_style.new_style('cmt-deeplab_r50_8xb8-150k_coco-panoptic-641'))
del package
