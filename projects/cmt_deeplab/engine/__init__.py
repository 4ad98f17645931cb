"""Training machinery: runner and loop, optimiser and model wrappers, hooks, and what the command lines share."""
import importlib.util

from .batch_size_hook import PanopticBatchSizeHook
from .checkpoint_check_hook import PanopticCheckpointCheckHook
from .model_wrapper import PanopticDistributedDataParallel
from .optim_wrapper import PanopticAmpOptimWrapper
from .optim_wrapper_constructor import PanopticOptimWrapperConstructor
from .runner import PanopticRunner
from .train_loop import PanopticIterBasedTrainLoop

if importlib.util.find_spec(f'{__name__}.class_check_hook') is not None:
    from .class_check_hook import PanopticClassCheckHook  # noqa: F401
if importlib.util.find_spec(f'{__name__}.time_budget_hook') is not None:
    from .time_budget_hook import PanopticTimeBudgetHook  # noqa: F401

__all__ = [
    'PanopticAmpOptimWrapper', 'PanopticBatchSizeHook', 'PanopticCheckpointCheckHook', 'PanopticDistributedDataParallel', 'PanopticIterBasedTrainLoop',
    'PanopticOptimWrapperConstructor', 'PanopticRunner'
]
