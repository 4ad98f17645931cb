"""A model, a data set and a metric of a few lines, registered by importing.

With them, tests of the machinery do not wait for a real network.
"""

import os
import signal

import torch
from cmt_deeplab.errors import UserError
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import ConcatDataset, Dataset


@DATASETS.register_module()
class ToyDataset(Dataset):
    """Vectors of 4 numbers, disturbed at random when they are read, as an augmentation does.

    The process is killed when it reads for the time ``killed_at``; the process of rank
    ``mistaken_rank`` raises a mistake of the user.
    """

    metainfo = dict(classes=('a', 'b'), thing_classes=('a',), stuff_classes=('b',))

    def __init__(
        self,
        length: int = 12,
        noise: float = 0.1,
        killed_at: int | None = None,
        mistaken_rank: int | None = None,
    ) -> None:
        self.length, self.noise = length, noise
        self.killed_at, self.mistaken_rank, self.read = killed_at, mistaken_rank, 0

    def __len__(self) -> int:
        return self.length

    def get_data_info(self, index: int) -> dict:
        return dict(width=3 + index % 3, height=4)  # two of three are taller than wide

    def get_cat_ids(self, index: int) -> list[int]:
        return [index % 2]

    def __getitem__(self, index: int) -> dict:
        self.read += 1
        if self.read == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mistaken_rank is not None and os.environ.get('RANK') == str(self.mistaken_rank):
            raise UserError(f'Process {self.mistaken_rank} has no data: correct data_root.')
        generator = torch.Generator().manual_seed(index)
        return dict(
            inputs=torch.randn(4, generator=generator) + self.noise * torch.randn(4), index=index
        )


@DATASETS.register_module()
class ToyConcatDataset(ConcatDataset):
    """Two toy data sets, the second twice as large, with the methods that mmdet's samplers ask."""

    metainfo = ToyDataset.metainfo

    def __init__(self, length: int = 6) -> None:
        super().__init__([ToyDataset(length), ToyDataset(2 * length)])

    def get_data_info(self, index: int) -> dict:
        return self.datasets[0].get_data_info(index)

    def get_dataset_source(self, index: int) -> int:
        return int(index >= self.cumulative_sizes[0])


@MODELS.register_module()
class ToyModel(BaseModel):
    """Learns the mean of its input, with dropout (global random generator) and batch statistics."""

    def __init__(
        self,
        width: int = 8,
        norm: str = 'BatchNorm1d',
        num_things_classes: int = 1,
        num_stuff_classes: int = 1,
        unused: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes
        self.backbone = nn.Linear(4, width)
        self.norm = getattr(nn, norm)(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1)
        if unused:
            self.spare = nn.Linear(width, 1)  # gets no gradient

    def forward(self, inputs: list, index: list, mode: str = 'tensor'):
        x = torch.stack(list(inputs))
        y = self.head(self.dropout(self.norm(self.backbone(x))))
        if mode == 'loss':
            return dict(loss=(y.float() - x.mean(1, keepdim=True)).square().mean())
        return [dict(index=int(i), value=float(v)) for i, v in zip(index, y)]


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """How many samples came, and their mean prediction."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples) -> None:
        self.results.extend((sample['index'], sample['value']) for sample in data_samples)

    def compute_metrics(self, results: list) -> dict:
        values = dict(results)
        return dict(
            count=float(len(results)),
            distinct=float(len(values)),
            mean=sum(values.values()) / len(values),
        )


class InfiniteGradient(torch.autograd.Function):
    """The value itself, whose gradient is infinite."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.inf
