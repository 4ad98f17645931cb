from .cmt_layer import CMTLayer
from .kmax_layer import KMaXLayer
from .layer_parts import LayerOutput
from .max_layer import MaXLayer
from .transformer_decoder import CMTTransformerDecoder, DecoderOutput
