from .cmt_layer import CMTLayer
from .kmax_layer import KMaXLayer
from .layer_output import LayerOutput

__all__ = ['CMTLayer', 'KMaXLayer', 'LayerOutput']
