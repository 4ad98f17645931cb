from .all_strides_adapter import AllStridesPixelDecoder
from .axial_pixel_decoder import AxialPixelDecoder

__all__ = ['AllStridesPixelDecoder', 'AxialPixelDecoder']
