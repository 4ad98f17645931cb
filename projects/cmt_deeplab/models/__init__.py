from . import backbones, detectors, pixel_decoders, transformer  # noqa: F401
from .data_preprocessor import PanopticDataPreprocessor
from .heads.panoptic_head import CMTPanopticHead
from .heads.predictor import CMTPredictor
from .heads.semantic_head import PanopticSemanticHead
from .transformer.transformer_decoder import CMTTransformerDecoder

__all__ = [
    'CMTPanopticHead',
    'CMTPredictor',
    'CMTTransformerDecoder',
    'PanopticDataPreprocessor',
    'PanopticSemanticHead',
]
