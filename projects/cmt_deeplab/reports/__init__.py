"""What a run tells of itself: a page, figures before a validation, and classes it does not learn.

What the page needs beside mmdet (jinja2, matplotlib) is imported when it is written.
"""

from .again import write_report
from .early_figures import PanopticEarlyFiguresHook
from .hook import PanopticReportHook
from .unlearned_classes import PanopticUnlearnedClassHook
