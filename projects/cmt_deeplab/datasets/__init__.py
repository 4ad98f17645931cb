"""Data: the segment-index path from the panoptic PNG to the batch, the data sets, and the generator of scenes."""
from .load_panoptic_index_map import LoadPanopticIndexMap
from .packing import PackPanopticInputs, PanopticIndexData
from .panoptic_index_dataset import PanopticIndexDataset, ShapesPanopticDataset
from .shapes import PRESETS, Scene, ShapesPreset, make_scene, scenes
from .shapes_files import write_shapes
from .spatial import PanopticLargeScaleJitter, PanopticRandomCrop, PanopticRandomFlip, PanopticResize

__all__ = [
    'LoadPanopticIndexMap', 'PRESETS', 'PackPanopticInputs', 'PanopticIndexData', 'PanopticIndexDataset', 'PanopticLargeScaleJitter',
    'PanopticRandomCrop', 'PanopticRandomFlip', 'PanopticResize', 'Scene', 'ShapesPanopticDataset', 'ShapesPreset', 'make_scene', 'scenes',
    'write_shapes'
]
