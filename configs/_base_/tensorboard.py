"""Inherit after default_runtime.py: curves for TensorBoard beside the local log (pip install tensorboard)."""
visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
