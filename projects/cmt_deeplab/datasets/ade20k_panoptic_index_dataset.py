"""ADE20K's 100 things and 50 stuff classes, with the names and colors of mmdet."""

from mmdet.datasets.ade20k import ADE20KPanopticDataset
from mmdet.registry import DATASETS

from cmt_deeplab.categories import complete_metainfo

from .panoptic_index_dataset import PanopticIndexDataset


@DATASETS.register_module()
class ADE20KPanopticIndexDataset(PanopticIndexDataset):
    """150 classes, 100 of them things.

    The files are those that ``tools/dataset_converters/ade20k_panoptic.py`` writes, or mmdet's
    ``tools/dataset_converters/ade20k2coco.py``. Files with other names of the same classes, such as
    those of Mask2Former, need the ``metainfo`` of their own categories.
    """

    METAINFO = complete_metainfo(ADE20KPanopticDataset.METAINFO)
