from .all_strides_adapter import AllStridesPixelDecoder
from .axial_pixel_decoder import AxialPixelDecoder
from .max_pixel_decoder import MaXPixelDecoder

__all__ = ['AllStridesPixelDecoder', 'AxialPixelDecoder', 'MaXPixelDecoder']
