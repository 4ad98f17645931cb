"""Inference: a model on images, folders, videos and arrays, and what it found as plain data."""

from .inferencer import PanopticInferencer
from .result import PanopticResult
