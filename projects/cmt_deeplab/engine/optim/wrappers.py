"""A wrapper of the optimizer that never applies an update that is not finite.

The device decides by itself whether a step counts, so the host does not wait for it. With the flags
that the device leaves behind, the host learns of it in the next step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.dist import is_distributed
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.errors import UserError

from .kept_buffers import KeptBuffers

FAULTS = ('loss', 'gradients', 'buffers')
# The square of a larger gradient, which Adam and clip_grad compute, leaves the range of fp32.
LARGEST = 1e15
SKIPPED_IN_A_ROW = 10  # where the config says skip_not_finite=True
# what scipy says in mmdet's assigners of costs that are not finite, and Python of such a number
NOT_FINITE = (
    'matrix contains invalid numeric entries',
    'cost matrix is infeasible',
    'cannot convert float NaN to integer',
)
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


# mmengine's names too: in the scope of mmdet a config means these
@OPTIM_WRAPPERS.register_module(name=['PanopticOptimWrapper', 'OptimWrapper'])
class PanopticOptimWrapper(OptimWrapper):
    """mmengine's wrapper, which applies no update that is not finite, and keeps the buffers too.

    An update is skipped where, in one of its iterations and in any process, the loss, the gradients
    or a buffer that the forward pass changed (the statistics of a norm) are not finite, or
    gradients are beyond 1e15. Weights, moments and buffers are then those before the step, and the
    learning rate goes on. All processes do it alike.

    torch's Adam, AdamW and SGD skip by themselves in their fused form, which is taken on a GPU and
    a CPU where the config gives neither ``fused`` nor ``foreach``. Other optimizers wait for the
    device once in a step. The faults of an iteration are handed to :attr:`tell` in the next one,
    before anything is updated; :meth:`report` does it at once.

    Args:
        skip_not_finite: how many updates in a row may be skipped before training ends; True stands
            for 10. With False the first one ends it.

    Raises:
        UserError: more updates in a row were skipped.
    """

    def __init__(self, *, skip_not_finite: bool | int = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._watch(skip_not_finite)

    def _watch(self, skip_not_finite: bool | int) -> None:
        """Set up what the constructors of all these wrappers share."""
        if not isinstance(skip_not_finite, int) or skip_not_finite < 0:
            raise UserError(
                f'optim_wrapper.skip_not_finite is {skip_not_finite!r}, but is True, False or how '
                'many updates in a row may be skipped.'
            )
        if isinstance(self.optimizer, torch.optim.LBFGS):
            raise UserError(
                'optim_wrapper.optimizer.type is LBFGS, which computes the loss several times in a '
                'step, as no wrapper of mmengine does; use another, such as AdamW.'
            )
        self.limit = SKIPPED_IN_A_ROW if skip_not_finite is True else int(skip_not_finite)
        self.skipped = self.in_a_row = 0
        self.tell: Callable[[list[str], bool], None] = tell
        self.buffers: KeptBuffers | None = None
        self._skip: Tensor | None = None  # whether an iteration of the next update is at fault
        self._flags: tuple[Tensor, Any] | None = None
        self._updated = False
        if self.clip_grad_kwargs:  # told by this wrapper
            self.clip_grad_kwargs.pop('error_if_nonfinite', None)
        groups = self.optimizer.param_groups
        # of mmengine's dicts, whose slow look-ups torch repeats for each parameter in each step
        groups[:] = map(dict, groups)
        open_choice = all(
            group.get(key) is None for group in groups for key in ('fused', 'foreach')
        )
        devices = {parameter.device.type for group in groups for parameter in group['params']}
        self._fuses = type(self.optimizer) in FUSED and open_choice and devices <= {'cuda', 'cpu'}
        if self._fuses:
            self._fuse(True)

    def _fuse(self, fused: bool) -> None:
        self._fuses = self.optimizer._step_supports_amp_scaling = fused
        for group in self.optimizer.param_groups:
            group['fused'] = fused

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As in mmengine; the forward pass runs inside."""
        model_inside = unwrapped(model)
        if self.buffers is None or self.buffers.model is not model_inside:
            self.buffers = KeptBuffers(model_inside)
        else:
            self.buffers.keep()
        try:
            with super().optim_context(model):
                yield
        except ValueError as error:
            if not any(words in str(error) for words in NOT_FINITE):
                raise
            self.report()
            self.tell(['forward'], True)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """As in mmengine, after the faults of the iteration before are told."""
        self.report()
        super().backward(loss, **kwargs)
        self._look(loss.detach())

    def _gradients(self) -> list[Tensor]:
        """What this process has of them."""
        groups = self.optimizer.param_groups
        parameters = (parameter for group in groups for parameter in group['params'])
        found = (local(each.grad) for each in parameters if each.grad is not None)
        return [each for each in found if each.numel()]

    @torch.no_grad()
    def _look(self, loss: Tensor) -> None:
        """Find what is not finite, on the device, and take back what the forward pass did."""
        largest = torch.nn.utils.get_total_norm(self._gradients(), norm_type=torch.inf)
        buffers = [each.to(loss.device) for each in (self.buffers.finite() if self.buffers else ())]
        fine = (
            loss.isfinite().all(),
            largest.to(loss.device) <= LARGEST,
            torch.stack([loss.new_ones((), dtype=torch.bool), *buffers]).all(),
        )
        found = in_any_process(~torch.stack(fine))
        skip, before = found.any(), self._skip
        scaler = getattr(self, 'loss_scaler', None)
        if scaler and scaler.is_enabled() and self._scale_update_param is None:
            # gradients beyond fp16 are in order while a dynamic scale falls
            found[1] &= scaler._scale.squeeze() <= 1
        if self.buffers:
            self.buffers.take_back(found.any())
        self._skip = skip if before is None else before | skip
        faults = found if before is None else found & ~before
        told, done = torch.cat([faults, self._skip[None]]), None
        if told.is_cuda:  # the host does not wait for the copy
            told = told.to('cpu', non_blocking=True)
            done = torch.cuda.current_stream().record_event()
        self._flags, self._updated = (told, done), False

    def report(self) -> None:
        """Read the flags of the last iteration; in the next one they are there without waiting."""
        if self._flags is None:
            return
        (told, done), self._flags = self._flags, None
        if done is not None:
            done.synchronize()
        *flags, skips = told.tolist()
        faults = [fault for fault, flag in zip(FAULTS, flags) if flag]
        if faults:
            self.skipped += 1
            self.in_a_row += 1
            self.tell(faults, self.in_a_row > self.limit)
        elif self._updated and not skips:
            self.in_a_row = 0

    def step(self, **kwargs: Any) -> None:
        """As in mmengine, unless an iteration of this update is at fault."""
        skip, self._skip, self._updated = self._skip, None, True
        optimizer, scaler = self.optimizer, getattr(self, 'loss_scaler', None)
        if self._fuses and type(optimizer) is torch.optim.SGD:
            parameters = (each for group in optimizer.param_groups for each in group['params'])
            if any(each.grad is not None and each.grad.is_sparse for each in parameters):
                self._fuse(False)  # as its fused form takes no such gradients
        # torch's SGD that skips the first of all steps leaves its momentum without a value
        momentum = any(group.get('momentum') for group in optimizer.param_groups)
        if skip is None:
            super().step(**kwargs)
        elif scaler and scaler.is_enabled():  # it looks at the gradients, and skips by itself
            min(self._gradients(), key=Tensor.numel).masked_fill_(skip, torch.nan)
            super().step(**kwargs)
        elif (optimizer.state or not momentum) and getattr(
            optimizer, '_step_supports_amp_scaling', False
        ):
            optimizer.grad_scale, optimizer.found_inf = None, skip.float()
            super().step(**kwargs)
            del optimizer.grad_scale, optimizer.found_inf
        elif not skip:  # waits for the device
            super().step(**kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """As in mmengine; how the optimizer computes is for the machine of this run to say."""
        groups = [dict(group) for group in state_dict['param_groups']]
        for group, own in zip(groups, self.optimizer.param_groups):
            group.update({key: own[key] for key in ('fused', 'foreach') if key in own})
        super().load_state_dict({**state_dict, 'param_groups': groups})


def tell(faults: list[str], stops: bool) -> None:
    """End training where no :class:`PanopticNotFiniteHook` is there to tell more."""
    if stops:
        raise UserError(
            f'A training step was not finite (in {faults[0]}), and it changed no weight: lower the '
            'learning rate, or look for inf and nan in data and losses.'
        )


def in_any_process(flags: Tensor) -> Tensor:
    """Which of the flags are set in one of the processes that train together."""
    if not is_distributed():
        return flags
    numbers = flags.int()
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    return numbers > 0


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this process has, and the values of a sparse one."""
    tensor = tensor.to_local() if hasattr(tensor, 'to_local') else tensor
    return tensor._values() if tensor.is_sparse else tensor
