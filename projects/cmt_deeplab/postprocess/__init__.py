"""From the masks and classes of one image to a panoptic picture: resizing and two merges."""

from .mask_wise_merge import PanopticMaskWiseMerge
from .merge_base import PanopticMerge, PanopticResult, tried_merge
from .pixel_wise_merge import PanopticPixelWiseMerge
from .windows import JoinedWindows, windows_of
