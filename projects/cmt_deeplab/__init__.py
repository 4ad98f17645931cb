"""CMT-DeepLab (CVPR 2022) and its siblings on mmdet.

Importing the package registers everything in mmdet's registries. Configs do so once, with
``custom_imports=['cmt_deeplab']`` in ``configs/_base_/default_runtime.py``.
"""

if __name__ != 'cmt_deeplab':  # under a second name every class would be registered twice
    raise ImportError(
        f"Import this package as 'cmt_deeplab', not as '{__name__}': install it with "
        '`pip install -e .` or put projects/ on PYTHONPATH.'
    )

from . import compat  # isort: skip

compat.apply()  # first: without compiled operators mmdet can only be imported after it

# ruff: noqa: E402, F401
from . import criterion, datasets, engine, evaluation, models, postprocess, reports, visualization

__version__ = '0.2.0'
