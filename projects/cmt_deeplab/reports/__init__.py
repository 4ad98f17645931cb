"""A page about a run: figures, where the lost PQ goes, curves and pictures.

What it needs beside mmdet (jinja2, matplotlib) is imported when a page is written.
"""

from .again import write_report
from .hook import PanopticReportHook
