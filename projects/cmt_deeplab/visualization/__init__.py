"""Pictures, progress and reports."""

from .assignments import AssignmentMap, assignment_maps, center_colors, draw_assignment
from .drawer import PanopticDrawer
from .examples import make_example
from .history import RunHistory, read_scalars
from .local_visualizer import PanopticLocalVisualizer
from .matching import match_segments
from .palette import distinct_colors, matched_colors, segment_colors
from .panel import side_by_side
from .prediction_recorder import PanopticPredictionRecorder, ValidatedImage, best_median_worst
from .progress import ProgressLine
from .progress_hook import PanopticProgressHook
from .report import Example, Figures, Report, write_report
from .svg_chart import Series, line_chart, smooth

__all__ = [
    'AssignmentMap',
    'Example',
    'Figures',
    'PanopticDrawer',
    'PanopticLocalVisualizer',
    'PanopticPredictionRecorder',
    'PanopticProgressHook',
    'ProgressLine',
    'Report',
    'RunHistory',
    'Series',
    'ValidatedImage',
    'assignment_maps',
    'best_median_worst',
    'center_colors',
    'distinct_colors',
    'draw_assignment',
    'line_chart',
    'make_example',
    'match_segments',
    'matched_colors',
    'read_scalars',
    'segment_colors',
    'side_by_side',
    'smooth',
    'write_report',
]
