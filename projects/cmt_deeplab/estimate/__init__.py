"""What a training step takes, estimated without running it: memory, kernels, waits and time."""

from .batch import free_memory, largest_batch, recipe_batch, settle_batch
from .pretended import pretended_device
from .step import StepEstimate, estimate_prediction, estimate_step
