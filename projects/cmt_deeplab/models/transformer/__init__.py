from .cmt_layer import CMTLayer
from .kmax_layer import KMaXLayer
from .layer_output import LayerOutput
from .max_layer import MaXLayer

__all__ = ['CMTLayer', 'KMaXLayer', 'LayerOutput', 'MaXLayer']
