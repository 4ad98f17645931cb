"""The largest batch that fits, and ``train_dataloader.batch_size='auto'``."""

import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device

from cmt_deeplab.errors import UserError

from .step import StepEstimate, estimate_step

USED_SHARE = 0.9  # of the memory; allocators leave gaps, and kernels need space of their own
# The variable that holds the number of processes before they are connected, by mmengine's launcher.
NUM_PROCESSES = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}
GIB = 2**30


def largest_batch(first: StepEstimate, second: StepEstimate, memory: float) -> int:
    """The largest batch whose step fits into ``memory`` bytes; 0 if not one image fits.

    Two estimates give the peak of each phase as a linear function of the batch.
    """
    fits = []
    for phase, peak in first.peaks.items():
        slope = (second.peaks[phase] - peak) / (second.batch - first.batch)
        rest = USED_SHARE * memory - peak + slope * first.batch
        if rest < 0 or slope > 0:
            fits.append(max(0, int(rest / slope)) if slope > 0 else 0)
    return min(fits)


def recipe_batch(cfg: Config, gpus: int) -> int:
    """The images per GPU and iteration that the learning rate is set for, at least 1.

    Raises:
        UserError: the config has no ``auto_scale_lr.base_batch_size``.
    """
    images = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not images:
        raise UserError(
            "train_dataloader.batch_size='auto' needs auto_scale_lr.base_batch_size, the batch "
            'that the learning rate is set for.'
        )
    return max(1, images // (gpus * cfg.optim_wrapper.get('accumulative_counts', 1)))


def settle_batch(cfg: Config) -> str | None:
    """Replace ``train_dataloader.batch_size='auto'`` by a number.

    It is the batch that the learning rate is set for (``auto_scale_lr.base_batch_size``, divided by
    processes and accumulated iterations), or, if this does not fit, the largest batch that fits
    into 0.9 of the free memory. The learning rate is then scaled in proportion.

    Returns:
        A sentence on the choice, or None where the config does not say 'auto'.

    Raises:
        UserError: not one image fits, or the config has no ``auto_scale_lr.base_batch_size``.
    """
    if (cfg.get('train_dataloader') or {}).get('batch_size') != 'auto':
        return None
    launcher = cfg.get('launcher', 'none')
    gpus = int(os.environ[NUM_PROCESSES[launcher]]) if launcher in NUM_PROCESSES else 1
    batch = wanted = recipe_batch(cfg, gpus)
    device, memory = get_device(), free_memory(gpus)
    estimate = estimate_step(cfg, batch=batch, gpus=gpus)
    if estimate.peak > USED_SHARE * memory:
        other = estimate_step(cfg, batch=max(1, batch // 2) if batch > 1 else 2, gpus=gpus)
        batch = largest_batch(estimate, other, memory)
    height, width = estimate.size
    if batch < 1:
        raise UserError(
            f'Not one image of {height}x{width} pixels fits into the {memory / GIB:.1f} GiB that '
            f'are free on {device}, by estimate: take smaller images, a smaller model, or '
            'model.with_cp=True, which recomputes activations in the backward pass.'
        )
    cfg.train_dataloader.batch_size, cfg.auto_scale_lr.enable = batch, True
    return (
        f"batch_size='auto': {batch} images of {height}x{width} pixels (the learning rate is set "
        f'for {wanted}), with {memory / GIB:.1f} GiB free on {device}.'
    )


def free_memory(processes: int = 1) -> float:
    """The free bytes for each process on the device of the training.

    With several processes it is the whole memory of the smallest GPU of this machine, so that all
    processes find the same number.
    """
    if get_device() == 'cuda':
        if processes == 1:
            return torch.cuda.mem_get_info()[0]
        gpus = range(torch.cuda.device_count())
        return min(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus)
    return free_ram() / processes


def free_ram(root: Path = Path('/')) -> float:
    """The bytes of RAM that are free, or the limit of this container if that is smaller."""
    lines = _read(root / 'proc/meminfo').splitlines()
    fields = dict(line.split(':') for line in lines)
    if 'MemAvailable' not in fields:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2
    sizes = [int(fields['MemAvailable'].split()[0]) * 1024]
    for limit in ('memory.max', 'memory/memory.limit_in_bytes'):
        number = _read(root / 'sys/fs/cgroup' / limit).strip()
        sizes += [int(number)] if number.isdigit() else []
    return min(sizes)


def _read(path: Path) -> str:
    return path.read_text(encoding='utf-8') if path.is_file() else ''
