"""mmdet's own loading of panoptic annotations, as the benchmarks compare with it.

This project lets mmdet's transform read PNGs as its own one does, which is faster and checks them.
So this module is imported before ``cmt_deeplab``, and keeps what mmdet has.
"""

from cmt_deeplab_cli.light import without_init

with without_init('cmt_deeplab'):
    from cmt_deeplab import compat

compat.apply()  # without compiled operators mmdet can only be imported after it

from mmdet.datasets.transforms import LoadPanopticAnnotations  # noqa: E402
from mmdet.registry import TRANSFORMS  # noqa: E402


@TRANSFORMS.register_module()
class StockPanopticAnnotations(LoadPanopticAnnotations):
    """mmdet's transform, whatever is changed in its class from here on."""

    _load_masks_and_semantic_segs = LoadPanopticAnnotations._load_masks_and_semantic_segs
