"""The log of a distributed evaluation, written once."""

from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import LoggerHook


@HOOKS.register_module()
class PanopticLoggerHook(LoggerHook):
    """mmengine's, but the figures of a test are written by the first process: there all processes write one file at the same time."""

    @master_only
    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        super().after_test_epoch(runner, metrics)
