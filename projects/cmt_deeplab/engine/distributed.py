"""Process groups and distributed data parallel, on machines with and without a GPU."""

import atexit
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
import torch.distributed
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS  # where mmengine looks wrappers up, whatever the scope
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cmt_deeplab.engine.stopping.rank_watch import TICK, RankWatch, longest_wait, rank_watch
from cmt_deeplab.engine.stopping.stop_signals import StopSignals, end_process
from cmt_deeplab.errors import UserError, report_user_errors

# by launcher: the command that starts the processes, and its variables for the three of torch
LAUNCHERS = {
    'pytorch': ('torchrun (tools/dist_train.sh)', 'RANK', 'LOCAL_RANK', 'WORLD_SIZE'),
    'slurm': ('srun (tools/slurm_train.sh)', 'SLURM_PROCID', 'SLURM_LOCALID', 'SLURM_NTASKS'),
    'mpi': ('mpirun', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE'),
}


def from_first_process(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in the first process; a UserError there is raised in all of them."""
    outcome: list = [None, None]
    if is_main_process():
        try:
            outcome[0] = work()
        except UserError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def _set_rank_variables(launcher: str) -> None:
    """Set torch's variables for the ranks and the rendezvous from those that the launcher set."""
    if launcher not in LAUNCHERS:
        raise UserError(
            f"The launcher '{launcher}' is unknown; use one of none, {', '.join(LAUNCHERS)}."
        )
    starter, *sources = LAUNCHERS[launcher]
    for name, source in zip(('RANK', 'LOCAL_RANK', 'WORLD_SIZE'), sources):
        if source not in os.environ:
            raise UserError(
                f'--launcher {launcher} needs the environment variable {source}; start the command '
                f'with {starter}.'
            )
        os.environ[name] = os.environ[source]
    os.environ.setdefault('MASTER_PORT', '29500')
    last = _number('WORLD_SIZE', 1) - 1
    for name, most in dict(RANK=last, LOCAL_RANK=last, MASTER_PORT=65535).items():
        _number(name, 0, most)
    if not os.environ.get('MASTER_ADDR'):
        address = '127.0.0.1'
        if launcher == 'slurm':
            command = ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']]
            address = subprocess.check_output(command, text=True).split()[0]
        os.environ['MASTER_ADDR'] = address


def _number(name: str, least: int, most: int = 99999) -> int:
    """The number in an environment variable, or a :class:`UserError`."""
    text = os.environ[name]
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UserError(
            f"The environment variable {name} is '{text}', but must be a whole number from {least} "
            f'to {most}.'
        )
    return int(text)


def init_process_group(
    *, launcher: str, backend: str | None = None, timeout: float | None = None
) -> None:
    """Join the process group that the launcher describes; mmengine, finding it, makes no other.

    mmengine calls ``torch.cuda.set_device`` on any machine. Here a machine without a GPU gets gloo
    and stays on the CPU.

    Args:
        launcher: 'pytorch', 'slurm' or 'mpi'.
        backend: That of the config (nccl if None); it counts on GPUs only.
        timeout: In seconds, see :class:`.rank_watch.RankWatch`, which comes before the limit of
            the collective operations.

    Raises:
        UserError: the launcher is unknown, did not set its variables rightly, or started more
            processes than the machine has GPUs.
    """
    _set_rank_variables(launcher)
    if torch.cuda.is_available():
        backend = backend or 'nccl'
        processes, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count()
        if processes > gpus and backend == 'nccl':
            raise UserError(
                f'{processes} processes were started on this machine, which has {gpus} '
                f'GPU{"s" if gpus > 1 else ""}; start one per GPU (the second argument of '
                'tools/dist_train.sh).'
            )
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']) % gpus)
    else:
        backend = 'gloo'
    torch.distributed.init_process_group(backend=backend, timeout=longest_wait(timeout))


@contextmanager
def ends_together() -> Iterator[None]:
    """Around a command line, or as its decorator: it ends with one sentence, in all processes.

    That is the sentence of the first one that fails, see :func:`report_user_errors`; the others end
    with it. A signal that asks to stop ends what is not training at once, also with a sentence.
    """
    status = 1
    try:
        with StopSignals(at_once=True), report_user_errors():
            try:
                yield
                if watch := rank_watch():  # all leave together
                    watch.close()
                    torch.distributed.barrier()
            except Exception:
                if watch := rank_watch():
                    if not watch.may_speak(status):
                        raise SystemExit(status) from None
                    print(f'{watch.name} has met an error and ends the run.', file=sys.stderr)
                raise
        status = 0
    except SystemExit as end:
        status = end.code
        raise
    except BaseException:
        if rank_watch():
            traceback.print_exc()
        raise
    finally:
        if watch := rank_watch():
            _leave(watch, status)


def _leave(watch: RankWatch, status: int) -> None:
    """End this process, with the exit status, as one of several.

    On gloo the interpreter is not taken down, because a thread of gloo that still runs while Python
    finalizes aborts the process ("terminate called without an active exception"; with torch 2.13 in
    6 of 41 runs of a bare script of two processes, and in none of 59 that ended as here).
    """
    on_gloo = torch.distributed.get_backend() == 'gloo'
    keeps_store = torch.distributed.get_rank() == 0
    keeps_store &= not torch.distributed.is_torchelastic_launched()
    if status and keeps_store:
        time.sleep(2 * TICK)  # the others read there that this process ends
    watch.close()
    if not status:
        torch.distributed.destroy_process_group()
    if on_gloo or status:
        atexit._run_exitfuncs()  # ends the data-loading processes and flushes the logs
        end_process(status)


# How many MiB of gradients the processes sum at once. Of the 290 MiB of a CMT-DeepLab with a
# ResNet-50, torch's 25 make 12 all-reduces, and these 6. The first begins when a sixth of the
# gradients is there, so that all but the last (25 MiB) run beside the backward pass.
BUCKET_CAP_MB = 50
# torch 2.13 has a new name for one argument, and warns of the old one
_KNOWN = signature(DistributedDataParallel.__init__).parameters
_BUFFERS = 'forward_sync_buffers' if 'forward_sync_buffers' in _KNOWN else 'broadcast_buffers'


def _with_canonical_strides(grad: Tensor) -> Tensor:
    """The gradient with the strides of a contiguous tensor.

    Back-ends give the axes of length 1 in the gradient of a 1x1 or depthwise kernel other strides,
    of which distributed data parallel warns.
    """
    return grad.reshape(-1).view(grad.shape)


@MODEL_WRAPPERS.register_module()
class PanopticDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper, also for a module on the CPU, where torch refuses ``device_ids``.

    Buffers are not broadcast by default: a synchronized norm keeps its statistics equal by itself.
    Gradients lie in the memory that the processes exchange, without a copy of it, and are summed
    in fewer parts than torch makes by itself; ``bucket_cap_mb=None`` leaves their size to torch.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        device_ids: Sequence[int] | None = None,
        broadcast_buffers: bool = False,
        gradient_as_bucket_view: bool = True,
        bucket_cap_mb: float | None = BUCKET_CAP_MB,
        **kwargs: Any,
    ) -> None:
        for parameter in module.parameters():
            if parameter.requires_grad and 1 in parameter.shape and parameter.is_contiguous():
                parameter.register_hook(_with_canonical_strides)
        super().__init__(
            module=module,
            device_ids=device_ids if next(module.parameters()).is_cuda else None,
            gradient_as_bucket_view=gradient_as_bucket_view,
            bucket_cap_mb=bucket_cap_mb,
            **{_BUFFERS: broadcast_buffers},
            **kwargs,
        )

    def _run_forward(self, *args: Any, **kwargs: Any) -> Any:
        """As in mmengine.

        Raises:
            UserError: a parameter got no gradient in the iteration before.
        """
        try:
            return super()._run_forward(*args, **kwargs)
        except RuntimeError as error:
            found = re.search(r'did not receive grad for rank \d+:([ \d]+)', str(error))
            if not found:
                raise
            trained = [
                name for name, value in self.module.named_parameters() if value.requires_grad
            ]
            unused = [trained[int(index)] for index in found[1].split()[:3]]
            raise UserError(
                'Some parameters of the model got no gradient, which processes that train together '
                f'have to know of ({", ".join(unused)}): set '
                'find_unused_parameters=True in the config, or take these parts out of the model.'
            ) from error
