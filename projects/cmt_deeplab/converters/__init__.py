"""Weights of other code bases under the names of this one: one loop, one table of name pairs a code base."""

from .convert import Conversion, convert, convert_file
from .deeplab2_names import deeplab2_table
from .kmax_pytorch_names import kmax_pytorch_table
from .read import read_deeplab2, read_pytorch
from .table import Part, Row

__all__ = [
    'Conversion',
    'Part',
    'Row',
    'convert',
    'convert_file',
    'deeplab2_table',
    'kmax_pytorch_table',
    'read_deeplab2',
    'read_pytorch',
]
