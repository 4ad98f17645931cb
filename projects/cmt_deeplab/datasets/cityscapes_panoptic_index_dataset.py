"""Cityscapes in the panoptic format that cityscapesScripts writes (``createPanopticImgs.py``)."""

from mmdet.datasets import CityscapesDataset
from mmdet.registry import DATASETS

from cmt_deeplab.categories import complete_metainfo

from .panoptic_index_dataset import PanopticIndexDataset

THINGS = CityscapesDataset.METAINFO  # the 8 classes of its instance segmentation
STUFF_COLORS = {
    'road': (128, 64, 128),
    'sidewalk': (244, 35, 232),
    'building': (70, 70, 70),
    'wall': (102, 102, 156),
    'fence': (190, 153, 153),
    'pole': (153, 153, 153),
    'traffic light': (250, 170, 30),
    'traffic sign': (220, 220, 0),
    'vegetation': (107, 142, 35),
    'terrain': (152, 251, 152),
    'sky': (70, 130, 180),
}


@DATASETS.register_module()
class CityscapesPanopticIndexDataset(PanopticIndexDataset):
    """19 classes, 8 of them things, with the colors of cityscapesScripts.

    The files are those that ``tools/dataset_converters/cityscapes_panoptic.py`` writes, or
    cityscapesScripts' ``csCreatePanopticImgs``. The latter names images by the name
    ``CITY_SEQUENCE_FRAME_gtFine_leftImg8bit.png``, a file that does not exist: the image is
    ``CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png``.
    """

    METAINFO = complete_metainfo(
        dict(
            thing_classes=THINGS['classes'],
            stuff_classes=tuple(STUFF_COLORS),
            palette=[*THINGS['palette'], *STUFF_COLORS.values()],
        )
    )

    def image_file(self, image: dict) -> str:
        name = image['file_name'].replace('_gtFine_leftImg8bit', '_leftImg8bit')
        return name if '/' in name else f'{name.split("_")[0]}/{name}'
