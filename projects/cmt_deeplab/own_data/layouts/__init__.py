"""The layouts that own data may have, in the order in which they are looked for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..annotated import Layout
from ..files import Files
from ..json_files import INSTANCES, LABEL_STUDIO, LABELME
from .coco_instances import find_coco_instances
from .coco_panoptic import find_coco_panoptic
from .cvat import find_cvat
from .label_studio import find_label_studio
from .labelme import find_labelme
from .mask_layouts import find_masks
from .yolo import find_yolo

JSONS = {  # layouts by the kind of JSON that tells them
    INSTANCES: find_coco_instances,
    LABELME: find_labelme,
    LABEL_STUDIO: find_label_studio,
}
OTHERS: dict[str, Callable[[Files], Layout | None]] = {
    'cvat': find_cvat,
    'yolo': find_yolo,
    'masks': find_masks,
}
