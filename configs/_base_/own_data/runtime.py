"""Runs on own data: the runtime of all recipes, with early figures, a report and pictures."""

_base_ = '../default_runtime.py'
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=500, max_keep_ckpts=2, save_best='coco_panoptic/PQ'),
    early_figures=dict(type='PanopticEarlyFiguresHook', images=20),
    report=dict(type='PanopticReportHook'),  # not in custom_hooks, a list that a leaf replaces
    visualization=dict(draw=True, interval=10),  # every 10th image of the validation
)
