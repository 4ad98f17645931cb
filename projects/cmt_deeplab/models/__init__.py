from . import backbones, detectors, layers, pixel_decoders  # noqa: F401
from .data_preprocessor import PanopticDataPreprocessor
from .panoptic_head import CMTPanopticHead
from .predictor import CMTPredictor
from .semantic_head import PanopticSemanticHead
from .transformer_decoder import CMTTransformerDecoder

__all__ = ['CMTPanopticHead', 'CMTPredictor', 'CMTTransformerDecoder', 'PanopticDataPreprocessor', 'PanopticSemanticHead']
