"""The gradients of half an accumulation, which a checkpoint in the middle of one holds."""

import logging
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.optim import OptimWrapper
from torch.distributed.fsdp import FSDPModule

from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.errors import UserError


def gradients_so_far(runner: Any) -> dict | None:
    """The gradients since the last update, or None where there are none.

    All processes call it together, as each has gradients of its own until the next update. Beside
    them stand the number of iterations that they are of, and that by which losses were divided.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper) or wrapper.should_update():
        return None
    at, count = wrapper.inner_count, wrapper._accumulative_counts
    return dict(
        accumulated=at % count,
        divisor=_divisor(wrapper, at, runner.max_iters),
        tensors={
            name: all_gather_object(None if tensor.grad is None else tensor.grad.cpu())
            for name, tensor in unwrapped(runner.model).named_parameters()
            if tensor.requires_grad
        },
    )


def restore_gradients(stored: dict, runner: Any) -> None:
    """Set what :func:`gradients_so_far` returned, before the training begins.

    Another number of processes, and a model in shards, take the mean over those of before. Where
    the losses of this run are divided by another number, so are the gradients. A warning says where
    this run does not go on with the accumulation.

    Raises:
        UserError: a gradient has another shape than its parameter.
    """
    wrapper, at = runner.optim_wrapper, runner.iter
    runner.logger.addFilter(_restored)  # mmengine says that they are lost
    if at % getattr(wrapper, '_accumulative_counts', 1) != stored['accumulated']:
        runner.logger.warning(
            f'optim_wrapper.accumulative_counts is another one than in the run of the checkpoint '
            f'{runner._load_from}, which ended within an accumulation: the gradients of its last '
            f'{stored["accumulated"]} iterations are left out.'
        )
        return
    sharded = any(isinstance(module, FSDPModule) for module in runner.model.modules())
    factor = stored['divisor'] / _divisor(wrapper, at, runner.max_iters)
    for name, tensor in unwrapped(runner.model).named_parameters():
        if not tensor.requires_grad:
            continue
        found = stored['tensors'].get(name, [])
        if len(found) == runner.world_size and not sharded:
            found = found[get_rank() : get_rank() + 1]
        grads = [each.to(tensor) for each in found if each is not None]
        if not found or any(each.shape != tensor.shape for each in grads):
            raise UserError(
                f'The checkpoint {runner._load_from} ended within an accumulation and holds no '
                f"gradient of '{name}', or one of another shape: resume an earlier one."
            )
        if grads:
            tensor.grad = torch.stack(grads).mean(0) * factor


def _divisor(wrapper: OptimWrapper, at: int, end: int) -> float:
    """By what the loss of iteration ``at`` is divided, in a run of ``end`` iterations."""
    count, rest = wrapper._accumulative_counts, end % wrapper._accumulative_counts
    scaler = getattr(wrapper, 'loss_scaler', None)
    return (count if at < end - rest else rest) / (scaler.get_scale() if scaler else 1)


def _restored(record: logging.LogRecord) -> bool:
    """Whether a line of the log is none that gradients are lost at a resume."""
    return 'Resumed iteration number is not divisible' not in record.getMessage()
