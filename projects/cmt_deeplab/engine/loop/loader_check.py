"""Refuses data loaders that give no batch, leave out what is evaluated, or never end."""

from itertools import islice
from typing import Any

from mmdet.datasets.samplers import MultiSourceSampler
from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_gather_object
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from cmt_deeplab.datasets.dataset_check import kept_random_states
from cmt_deeplab.errors import UserError

ENDLESS = (InfiniteSampler, MultiSourceSampler)  # though they have a length
# what torch refuses without loading processes, where it has no effect
OF_LOADING_PROCESSES = ('persistent_workers', 'prefetch_factor')


def without_loading_processes(config: dict, place: str, logger: Any) -> dict:
    """The config of a data loader, without keys that need the loading processes it does not have.

    One sets ``num_workers=0`` to find a fault, and leaves the other keys as they are.
    """
    if config.get('prefetch_factor') == 0:  # torch asks for None or more
        raise UserError(f'{place}.prefetch_factor is 0, but must be at least 1, or None.')
    unused = [key for key in OF_LOADING_PROCESSES if config.get(key)]
    if config.get('num_workers', 0) != 0 or not unused:
        return config
    logger.warning(f'{place}.num_workers is 0, so {" and ".join(unused)} has no effect.')
    return {key: value for key, value in config.items() if key not in unused}


def check_loader(loader: DataLoader, place: str) -> None:
    """Check that a data loader gives batches, and that one for an evaluation gives every image.

    All processes call this together.

    Args:
        loader: a data loader that was just built.
        place: its key in the config, such as ``'val_dataloader'``.

    Raises:
        UserError: it does not; the message names the key to set.
    """
    if isinstance(loader.dataset, IterableDataset):
        return  # it has no sampler
    images, batch_sampler = len(loader.dataset), loader.batch_sampler
    if not images:
        raise UserError(
            f'{place}.dataset ({type(loader.dataset).__name__}) has no image: correct its paths, '
            'filter_cfg, indices or num_batch_per_epoch.'
        )
    if batch_sampler is None:
        raise UserError(f'{place}.batch_size is None; give it a number of images.')
    if place != 'train_dataloader':
        check_end(loader, place, 'the evaluation')
    if not all(hasattr(part, '__len__') for part in (sampler_of(loader), batch_sampler)):
        return  # of training alone, whose loop by iteration needs no lengths
    batches = all_gather_object(len(batch_sampler))
    # a process that evaluates nothing does not keep the others from it
    fewest = min(batches) if place == 'train_dataloader' else max(batches)
    if fewest < 1 and not isinstance(sampler_of(loader), ENDLESS):
        raise UserError(
            f'{place} gives no batch: {type(batch_sampler).__name__} with batches of '
            f'{getattr(batch_sampler, "batch_size", None)} leaves nothing of the {images} images '
            f'in {len(batches)} processes; use a smaller batch_size, drop_last=False or fewer '
            'processes.'
        )
    left_out = getattr(batch_sampler, 'drop_last', False) and (
        type(batch_sampler) is not BatchSampler
        or len(sampler_of(loader)) % batch_sampler.batch_size
    )
    if left_out and place != 'train_dataloader':
        raise UserError(
            f'{place}.drop_last=True leaves images out of the evaluation: set drop_last=False.'
        )


def sampler_of(loader: DataLoader) -> Any:
    """The sampler below the batch sampler of a data loader, if it has one."""
    return getattr(loader.batch_sampler, 'sampler', None) or loader.sampler


def check_end(loader: DataLoader, place: str, what: str) -> None:
    """Check that the sampler ends a pass over the data set, by drawing indices without images.

    Args:
        what: what would never end, such as 'the evaluation'.

    Raises:
        UserError: it goes on after twice the indices that it promises, or promises no number.
    """
    sampler = sampler_of(loader)
    with kept_random_states():
        endless = not hasattr(sampler, '__len__') or any(
            True for _ in islice(iter(sampler), 2 * len(sampler), 2 * len(sampler) + 1)
        )
    if endless:
        training = place == 'train_dataloader'
        raise UserError(
            f'{place}.sampler {type(sampler).__name__} never ends {what}, or has no length: use '
            f"dict(type='DefaultSampler', shuffle={training})"
            f'{", or a loop by iteration" if training else ""}.'
        )
