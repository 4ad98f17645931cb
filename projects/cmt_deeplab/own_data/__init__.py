"""Own data of many layouts, opened as COCO panoptic data."""

from .opening import open_data
from .panoptic_folder import PanopticFolder, PanopticSplit
