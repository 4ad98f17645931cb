"""Data sets, transforms from the panoptic PNG to the batch, and the generator of scenes."""

from .ade20k_panoptic_index_dataset import ADE20KPanopticIndexDataset
from .cityscapes_panoptic_index_dataset import CityscapesPanopticIndexDataset
from .color_jitter import PanopticColorJitter
from .copy_paste import PanopticCopyPaste
from .dataset_check import check_pipelines, check_samples
from .geometric import PanopticGeometricTransforms
from .index_map_to_masks import IndexMapToMasks
from .load_image import load_image
from .load_panoptic_index_map import LoadPanopticIndexMap
from .packing import PackPanopticInputs, PanopticIndexData
from .panoptic_index_dataset import PanopticIndexDataset
from .shapes_files import ShapesPanopticDataset, write_shapes
from .spatial import (
    PanopticDrawScale,
    PanopticLargeScaleJitter,
    PanopticRandomCrop,
    PanopticRandomFlip,
    PanopticResize,
)
