"""The layouts that own data may have, in the order in which they are looked for."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..annotated import Layout
from ..files import Files
from ..shapes import shapes_layout
from .coco_instances import read_coco_instances
from .label_studio import read_label_studio
from .labelme import read_labelme
from .mask_layouts import find_masks
from .other_tools import read_datumaro, read_supervisely, read_via
from .pairing import CLASSES, INSTANCES
from .xml_tools import find_xml, read_cvat, read_imagescope
from .yolo import find_yolo

# The layouts that a kind of JSON tells, by this kind.
JSONS: dict[str, Callable[[Files, list[Path]], Layout]] = {
    kind: partial(shapes_layout, tool, **reading)
    for kind, tool, reading in (
        ('coco-instances', 'the format of COCO', dict(read=read_coco_instances, kind=True)),
        ('labelme', 'LabelMe', dict(read=read_labelme)),
        ('label-studio', 'Label Studio', dict(read=read_label_studio)),
        ('via', 'VIA', dict(read=read_via)),
        ('supervisely', 'Supervisely', dict(read=read_supervisely)),
        ('datumaro', 'Datumaro', dict(read=read_datumaro)),
    )
}
OTHERS: dict[str, Callable[[Files], Layout | None]] = {
    'cvat': partial(find_xml, 'CVAT', 'annotations', read_cvat),
    'imagescope': partial(find_xml, 'ImageScope', 'Annotations', read_imagescope),
    'yolo': find_yolo,
    'masks': find_masks,
    'instance-masks': partial(find_masks, meant=INSTANCES),
    'class-masks': partial(find_masks, meant=CLASSES),
}
