"""Hooks that compare sizes and checkpoint with the model before a run starts, and that log."""

from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook, LoggerHook
from mmengine.runner import BaseLoop

from cmt_deeplab.datasets import check_pipelines, check_samples
from cmt_deeplab.engine.loop.batch_stream import images_per_batch
from cmt_deeplab.engine.resuming.resume import load_instead
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.data_preprocessor import PanopticDataPreprocessor
from cmt_deeplab.models.detectors.checkpoint_check import TRAINING_ONLY, compare_weights, shapes_of
from cmt_deeplab.renamed import rename_weights

from .class_check import built_datasets, unwrapped

for followed in (CheckpointHook, EarlyStoppingHook):  # mmengine leaves these lists to others
    followed._default_greater_keys = [*followed._default_greater_keys, 'PQ', '/SQ', '/RQ']

CHECKS = {
    'checkpoint_check': dict(type='PanopticCheckpointCheckHook'),
    'class_check': dict(type='PanopticClassCheckHook'),
    'not_finite': dict(type='PanopticNotFiniteHook'),
    'skipped_images': dict(type='PanopticSkippedImagesHook'),
    'unlearned_classes': dict(type='PanopticUnlearnedClassHook'),
}
# which mmengine leaves out where the config gives None
HOOKS_OF_MMENGINE = {
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
}


def with_checks(hooks: dict) -> dict:
    """The default hooks of a config and five checks, without those that are None."""
    return {
        name: hook
        for name, hook in {**CHECKS, **hooks}.items()
        if hook is not None or name in HOOKS_OF_MMENGINE
    }


@HOOKS.register_module()
class PanopticSizeCheckHook(Hook):
    """Compare ``image_size`` of every data set with ``model.data_preprocessor.size``.

    Nothing is compared where one of the two is not given. Pipelines are checked as well, and the
    first images of each data set pass through the data preprocessor.

    Raises:
        UserError: the images of a data set may be larger than the input of the model, or a pipeline
            does not treat the truth as it treats the image.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Any) -> None:
        model = unwrapped(runner.model)
        preprocessor = getattr(model, 'data_preprocessor', None)
        size = getattr(preprocessor, 'size', None)
        for name, dataset in built_datasets(runner):
            image_size = getattr(dataset, 'image_size', None)
            if getattr(model, 'test_windows', None) and getattr(dataset, 'test_mode', False):
                check_pipelines(dataset)  # images may be larger than the input
                continue
            if size and image_size and (image_size[0] > size[0] or image_size[1] > size[1]):
                raise UserError(
                    f'{name}.dataset.image_size is {tuple(image_size)}, but '
                    f'model.data_preprocessor.size is {tuple(size)}: give both the same value, or '
                    'set model.data_preprocessor.size=None, which lets each batch have its own.'
                )
            if isinstance(preprocessor, PanopticDataPreprocessor):
                check_samples(dataset, preprocessor)
            else:
                check_pipelines(dataset)


@HOOKS.register_module()
class PanopticCheckpointCheckHook(Hook):
    """Compare the names and shapes of a checkpoint with those of the model, before it is loaded.

    Resuming needs every tensor. Testing needs all tensors except those of the parts that only
    training uses. Fine-tuning needs at least one tensor in ten.

    Raises:
        UserError: the checkpoint does not fit; the message names the first tensor that disagrees.
    """

    priority = 'VERY_HIGH'  # before hooks that copy the weights, such as EMAHook

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        path = runner._load_from or 'of this run'
        if not isinstance(checkpoint, dict):
            raise UserError(
                f'The checkpoint {path} holds a {type(checkpoint).__name__}, not the tensors of a '
                'model by name; use a .pth file that training wrote.'
            )
        training = isinstance(runner._train_loop, BaseLoop)
        resuming = training and runner._resume
        unneeded = ('',) if training else TRAINING_ONLY
        stored = checkpoint.get('state_dict', checkpoint)
        rename_weights(stored)
        try:
            compare_weights(
                shapes_of(stored),
                unwrapped(runner.model),
                checkpoint=f'The checkpoint {path}',
                unneeded=() if resuming else unneeded,
            )
        except UserError as error:
            if not resuming:
                raise
            raise UserError(f'{str(error)[:-1]}, or {load_instead(path)}.') from error


@HOOKS.register_module()
class PanopticBatchSizeHook(Hook):
    """Log how many images an optimizer step sees, and the images per second of all processes.

    A warning follows where that is not the batch that the learning rate was set for, and no
    scaling was asked for.
    """

    per_iteration: int | None = None  # images of all processes
    timed = False

    def before_train(self, runner: Any) -> None:
        per_process = images_per_batch(runner.train_dataloader)
        if per_process is None:
            runner.logger.info('The batch sampler gives batches of different sizes.')
            return
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        self.per_iteration = per_process * runner.world_size
        effective = self.per_iteration * accumulated
        runner.logger.info(
            f'Effective batch size {effective} = {per_process} images x {runner.world_size} '
            f'processes x {accumulated} accumulated iterations'
        )
        scale = getattr(runner, 'auto_scale_lr', None) or {}  # FlexibleRunner has none
        base = scale.get('base_batch_size')
        if base and base != effective and not scale.get('enable'):
            runner.logger.warning(
                f'The learning rate is set for batches of {base}, but an optimizer step sees '
                f'{effective} images: scale it with --auto-scale-lr, or accumulate iterations '
                'with optim_wrapper.accumulative_counts.'
            )

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        self.timed = self.timed or 'train/time' in runner.message_hub.log_scalars
        if self.per_iteration and self.timed:
            seconds = runner.message_hub.get_scalar('train/time').mean(50)
            rate = self.per_iteration / seconds
            runner.message_hub.update_scalar('train/images_per_second', rate)


@HOOKS.register_module()
class PanopticLoggerHook(LoggerHook):
    """mmengine's LoggerHook, which after a test lets all processes write one file at once.

    Here only the first process writes it.
    """

    @master_only
    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        super().after_test_epoch(runner, metrics)
