"""Training machinery: the runner and its loop, optimization, hooks, and the command lines' part."""

from cmt_deeplab.engine.loop.train_loop import PanopticIterBasedTrainLoop
from cmt_deeplab.engine.optim.mixed_precision import PanopticAmpOptimWrapper
from cmt_deeplab.engine.optim.not_finite import PanopticNotFiniteHook
from cmt_deeplab.engine.optim.optimization import (
    PanopticOptimWrapperConstructor,
    PanopticWarmupPolyLR,
)
from cmt_deeplab.engine.optim.wrappers import PanopticOptimWrapper
from cmt_deeplab.engine.stopping.time_budget import PanopticTimeBudgetHook

from .class_check import PanopticClassCheckHook
from .distributed import PanopticDistributedDataParallel
from .fsdp import PanopticFullyShardedDataParallel
from .hooks import (
    PanopticBatchSizeHook,
    PanopticCheckpointCheckHook,
    PanopticLoggerHook,
    PanopticSizeCheckHook,
)
from .runner import PanopticRunner
from .skipped_images import PanopticSkippedImagesHook
