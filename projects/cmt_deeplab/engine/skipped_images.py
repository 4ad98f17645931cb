"""What a run says of the images that its data sets left out as faulty."""

from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook

from cmt_deeplab.datasets.dataset_check import innermost_ones

from .class_check import built_datasets


@HOOKS.register_module()
class PanopticSkippedImagesHook(Hook):
    """Log how many images an evaluation left out, beside its figures, and all of them at the end.

    Data sets with ``skip_faulty_images`` leave images out. All processes leave out the same.
    """

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        self._count(runner, 'val')

    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        self._count(runner, 'test')

    def after_run(self, runner: Any) -> None:
        for name, dataset in built_datasets(runner):
            sentences = skipped_images(dataset)
            if sentences:
                lines = '\n'.join(sentences)
                runner.logger.warning(f'{name} left out {len(sentences)} faulty images:\n{lines}')

    @staticmethod
    def _count(runner: Any, split: str) -> None:
        number = len(skipped_images(dict(built_datasets(runner))[f'{split}_dataloader']))
        if number:
            runner.message_hub.update_scalar(f'{split}/skipped_images', number)


def skipped_images(dataset: Any) -> list[str]:
    """A sentence for each image that the data sets inside all wrappers have left out."""
    leaves = innermost_ones(dataset)
    return [sentence for leaf in leaves for sentence in getattr(leaf, 'skipped_images', ())]
