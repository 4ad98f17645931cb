"""What a training step takes, estimated without running it: memory, kernels, waits and time."""

from .batch import free_memory, largest_batch, recipe_batch, settle_batch
from .step import StepEstimate, estimate_step
