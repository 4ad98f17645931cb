"""Inherit in place of default_runtime.py: curves for TensorBoard beside the local log.

Needs `pip install tensorboard`. A leaf of another leaf, which has default_runtime.py already, takes
the last line.
"""

_base_ = './default_runtime.py'
visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
