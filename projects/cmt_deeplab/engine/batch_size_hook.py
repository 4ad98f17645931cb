"""Says at the start of training how large a batch one optimizer step sees."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook


@HOOKS.register_module()
class PanopticBatchSizeHook(Hook):
    """Logs the effective batch; warns where it is not the one that the learning rate was set for and no scaling was asked for."""

    def before_train(self, runner) -> None:
        per_process = runner.train_dataloader.batch_size
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        effective = per_process * runner.world_size * accumulated
        runner.logger.info(
            f'Effective batch size {effective} = {per_process} images x {runner.world_size} processes x {accumulated} '
            'accumulated iterations'
        )
        scale = runner.auto_scale_lr or {}
        base = scale.get('base_batch_size')
        if base and base != effective and not scale.get('enable'):
            runner.logger.warning(
                f'The learning rate is set for batches of {base} but one optimizer step sees {effective} images: scale '
                'it with --auto-scale-lr, or accumulate with optim_wrapper.accumulative_counts.'
            )
