from .all_strides_adapter import AllStridesPixelDecoder
from .axial_pixel_decoder import AxialPixelDecoder
from .build import build_pixel_decoder
from .max_pixel_decoder import MaXPixelDecoder
from .neck import AdaptedNeck
