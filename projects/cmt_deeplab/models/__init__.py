"""The networks. Importing this package registers all parts with mmdet."""

from . import backbones, detectors, pixel_decoders, transformer
from .data_preprocessor import PanopticDataPreprocessor
from .heads.panoptic_head import CMTPanopticHead
from .heads.predictor import CMTPredictor
from .heads.semantic_head import PanopticSemanticHead
from .test_time_augmentation import PanopticTTAModel
