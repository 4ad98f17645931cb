"""Pictures of panoptic maps and of the assignment of pixels to cluster centers."""

from . import picture_files
from .assignments import AssignmentMap, assignment_maps, center_colors, draw_assignment
from .beside import ComparedPictures, compared_pictures, draw_beside
from .drawer import PanopticDrawer
from .hook import PanopticVisualizationHook
from .local_visualizer import PanopticLocalVisualizer
from .palette import distinct_colors, matched_colors, segment_colors
