"""Training machinery: the runner and its loop, optimization, hooks, and the command lines' part."""

from .distributed import PanopticDistributedDataParallel
from .hooks import (
    PanopticBatchSizeHook,
    PanopticCheckpointCheckHook,
    PanopticClassCheckHook,
    PanopticLoggerHook,
    PanopticSizeCheckHook,
)
from .optimization import (
    PanopticAmpOptimWrapper,
    PanopticOptimWrapperConstructor,
    PanopticWarmupPolyLR,
)
from .runner import PanopticRunner
from .train_loop import PanopticIterBasedTrainLoop
