"""Training machinery: runner and loop, optimizer and model wrappers, hooks, and what the command lines share."""

from .batch_size_hook import PanopticBatchSizeHook
from .checkpoint_check_hook import PanopticCheckpointCheckHook
from .class_check_hook import PanopticClassCheckHook
from .logger_hook import PanopticLoggerHook
from .model_wrapper import PanopticDistributedDataParallel
from .optim_wrapper import PanopticAmpOptimWrapper
from .optim_wrapper_constructor import PanopticOptimWrapperConstructor
from .runner import PanopticRunner
from .size_check_hook import PanopticSizeCheckHook
from .time_budget_hook import PanopticTimeBudgetHook
from .train_loop import PanopticIterBasedTrainLoop

__all__ = [
    'PanopticAmpOptimWrapper',
    'PanopticBatchSizeHook',
    'PanopticCheckpointCheckHook',
    'PanopticClassCheckHook',
    'PanopticDistributedDataParallel',
    'PanopticIterBasedTrainLoop',
    'PanopticLoggerHook',
    'PanopticOptimWrapperConstructor',
    'PanopticRunner',
    'PanopticSizeCheckHook',
    'PanopticTimeBudgetHook',
]
