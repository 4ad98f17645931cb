"""The order in which training sees the images: replayed to any iteration, whatever the sampler."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count
from statistics import mean
from typing import Any
from zlib import crc32

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from torch.utils.data import DataLoader, IterableDataset

from cmt_deeplab.errors import UserError

from .random_state import seed_generators


def images_per_batch(dataloader: DataLoader) -> int | None:
    """The images of a batch of one process; None where the batch sampler does not have one number.

    An example is mmdet's MultiDataAspectRatioBatchSampler, with another number for each data set.
    """
    size = dataloader.batch_size or getattr(dataloader.batch_sampler, 'batch_size', None)
    return size if isinstance(size, int) else None


class SeededBatch(list):
    """The indices of one batch, and of each image the keys of its random numbers."""

    keys: list[tuple]


class ReadBatch:
    """Reads the samples of a batch; each draws random numbers of its own.

    So the augmentation of an image does not depend on the number of loading processes, nor on what
    was read before.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.several = getattr(dataset, '__getitems__', None)  # as torch's data loader asks for it

    def __call__(self, batch: Sequence) -> list:
        if not isinstance(batch, SeededBatch):  # of another data loader of this data set
            return self.several(batch) if self.several else [self.dataset[i] for i in batch]
        samples = []
        for index, keys in zip(batch, batch.keys):
            seed_generators('image', *keys)
            samples += self.several([index]) if self.several else [self.dataset[index]]
        return samples


class BatchStream:
    """The batches of a data loader's batch sampler without an end, from any iteration on.

    A batch sampler that ends begins anew, with the next number as the epoch of its sampler. The
    stream is moved by counting batches of indices, so no image is read, and works with every
    sampler whose order follows from its seed, its epoch and the random generators of the process.
    These are seeded for each batch, so that the order does not depend on what else is drawn.

    Whether the order was the same is seen from :attr:`digest`, a checksum of the images of all
    iterations that were taken. Those of all processes are added, so the sum is the same where
    another number of processes takes the same images in each iteration.

    Args:
        dataloader: Its batch sampler is replaced by the stream; no iterator of it is in use.

    Raises:
        UserError: the data loader has no batches, or a pass over its data gives none.
    """

    def __init__(self, dataloader: DataLoader) -> None:
        self.batch_sampler = dataloader.batch_sampler
        self.sampler = getattr(self.batch_sampler, 'sampler', None)  # where mmengine's hooks look
        self.batch_size = getattr(self.batch_sampler, 'batch_size', None)
        if isinstance(dataloader.dataset, IterableDataset):
            raise UserError(
                f'train_dataloader.dataset ({type(dataloader.dataset).__name__}) gives no image by '
                'its index: use a data set that does.'
            )
        self.images = len(dataloader.dataset)
        self.digest = 0
        self._read_ahead: deque[int] = deque()  # checksums of batches that are not taken yet
        self._batches: Iterator[SeededBatch] = iter(())  # mmengine 0.10 asks before it begins
        # torch refuses an assignment, which would come too late for iterators that are in use
        vars(dataloader)['batch_sampler'] = self
        dataloader.dataset.__getitems__ = ReadBatch(dataloader.dataset)

    def begin(self, *, at: int, seed: int) -> None:
        """Go to batch number ``at``; ``seed`` is that of the run, the same in all processes."""
        self._batches = self._passes(seed)
        for _ in range(at):
            next(self._batches)
            self.take()

    def take(self) -> None:
        """Count the oldest batch that was read and not yet taken."""
        self.digest = (self.digest + self._read_ahead.popleft()) % 2**32

    def __len__(self) -> int:
        """Batches in which all processes together see the data set once."""
        parts = (part for part in (self.sampler, self.batch_sampler) if part is not None)
        finite = all(hasattr(part, '__len__') for part in parts)
        if finite and not isinstance(self.sampler, InfiniteSampler):
            return len(self.batch_sampler)
        sizes = self.batch_size if isinstance(self.batch_size, Sequence) else [self.batch_size or 1]
        return -(-self.images // int(get_world_size() * mean(sizes)))

    def __iter__(self) -> Iterator[SeededBatch]:
        return self._batches

    def _passes(self, seed: int) -> Iterator[SeededBatch]:
        """Pass after pass, with the checksum of each batch in ``_read_ahead``.

        Samplers of mmengine and torch deal the images out to the processes in turn, which numbers
        the places of an iteration through all of them.
        """
        rank, processes = get_rank(), get_world_size()
        number = 0
        for epoch in count():
            for part in (self.sampler, self.batch_sampler):
                if epoch and hasattr(part, 'set_epoch'):
                    part.set_epoch(epoch)
            first = number
            seed_generators('pass', seed, epoch, rank)
            batches = iter(self.batch_sampler)
            while True:
                seed_generators('batch', seed, number, rank)
                try:
                    indices = next(batches, None)
                except (AttributeError, KeyError) as error:
                    if not type(self.batch_sampler).__module__.startswith('mmdet.'):
                        raise
                    raise UserError(
                        f'train_dataloader.batch_sampler {type(self.batch_sampler).__name__} asks '
                        f'for what the data set or its sampler does not have ({error}): use '
                        'another one.'
                    ) from error
                if indices is None:
                    break
                batch = SeededBatch(indices)
                batch.keys = [
                    (seed, number, index, place * processes + rank)
                    for place, index in enumerate(batch)
                ]
                self._read_ahead.append(sum(crc32(f'{number}/{i}'.encode()) for i in batch))
                yield batch
                number += 1
            if number == first:
                raise UserError(
                    f'train_dataloader gives no batch: {type(self.batch_sampler).__name__} with '
                    f'batches of {self.batch_size} leaves nothing of the {self.images} '
                    'images; use a smaller batch_size or drop_last=False.'
                )
