"""From the slots of one image to a panoptic picture: resizing, mask-wise merge, pixel-wise merge."""

from .mask_wise_merge import PanopticMaskWiseMerge
from .pixel_wise_merge import PanopticPixelWiseMerge
from .result import PanopticResult

__all__ = ['PanopticMaskWiseMerge', 'PanopticPixelWiseMerge', 'PanopticResult']
