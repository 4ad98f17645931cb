"""Cityscapes in the panoptic format that cityscapesScripts writes (``createPanopticImgs.py``)."""

from mmdet.registry import DATASETS

from .categories import complete_metainfo
from .panoptic_index_dataset import PanopticIndexDataset


@DATASETS.register_module()
class CityscapesPanopticIndexDataset(PanopticIndexDataset):
    """19 classes, 8 of them things, in the files that ``csCreatePanopticImgs`` writes.

    The JSON names images ``CITY_SEQUENCE_FRAME_gtFine_leftImg8bit.png``, a file that does not
    exist: the image is ``CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png``. The colors are those of
    cityscapesScripts.
    """

    METAINFO = complete_metainfo(
        dict(
            thing_classes=(
                'person',
                'rider',
                'car',
                'truck',
                'bus',
                'train',
                'motorcycle',
                'bicycle',
            ),
            stuff_classes=(
                'road',
                'sidewalk',
                'building',
                'wall',
                'fence',
                'pole',
                'traffic light',
                'traffic sign',
                'vegetation',
                'terrain',
                'sky',
            ),
            palette=[
                (220, 20, 60),
                (255, 0, 0),
                (0, 0, 142),
                (0, 0, 70),
                (0, 60, 100),
                (0, 80, 100),
                (0, 0, 230),
                (119, 11, 32),
                (128, 64, 128),
                (244, 35, 232),
                (70, 70, 70),
                (102, 102, 156),
                (190, 153, 153),
                (153, 153, 153),
                (250, 170, 30),
                (220, 220, 0),
                (107, 142, 35),
                (152, 251, 152),
                (70, 130, 180),
            ],
        )
    )

    def image_file(self, image: dict) -> str:
        name = image['file_name'].replace('_gtFine_leftImg8bit', '_leftImg8bit')
        return f'{name.split("_")[0]}/{name}'
