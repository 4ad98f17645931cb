"""Checkpoints of other code bases as checkpoints of this project.

``convert`` renames tensors by the tables of a code base, ``convert_file`` reads and writes files.
"""

from .convert import Conversion, convert, convert_file
from .deeplab2 import DEEPLAB2
from .kmax_pytorch import KMAX_PYTORCH
from .table import CodeBase, Part
