"""Training machinery: the runner and its loop, optimization, hooks, and the command lines' part."""

from cmt_deeplab.engine.loop.train_loop import PanopticIterBasedTrainLoop

from .class_check import PanopticClassCheckHook
from .distributed import PanopticDistributedDataParallel
from .hooks import (
    PanopticBatchSizeHook,
    PanopticCheckpointCheckHook,
    PanopticLoggerHook,
    PanopticSizeCheckHook,
)
from .optimization import (
    PanopticAmpOptimWrapper,
    PanopticOptimWrapperConstructor,
    PanopticWarmupPolyLR,
)
from .runner import PanopticRunner
from .skipped_images import PanopticSkippedImagesHook
