"""One training step of a config on fake tensors: memory by phase, and work by place."""

import copy
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
import torch.distributed as dist
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.structures import InstanceData
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.construction import name_of
from cmt_deeplab.datasets.packing import PanopticIndexData
from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.geometry import Size, as_size
from cmt_deeplab.models.blocks.norm import PanopticSyncBN
from cmt_deeplab.models.detectors.cmt_deeplab import CMTDeepLab

from .cost import Work, size_of
from .ledger import Host, Ledger

PHASES = ('forward', 'criterion', 'backward', 'optimizer')
BUCKET = 25 * 2**20  # bytes of gradients that DDP sums at once


@dataclass(frozen=True)
class StepEstimate:
    """The estimate for one GPU; memory is in bytes.

    ``largest`` lists the places whose tensors are held at the peak, with their bytes, their number
    and the form of the largest one. ``waits`` lists the places where the host waits for the GPU.
    """

    batch: int
    gpus: int
    size: Size
    weights: int
    gradients: int
    optimizer: int
    peaks: dict[str, int]
    largest: list[dict]
    waits: list[dict]
    collectives: int
    phases: dict[str, Work]
    files: dict[str, Work]

    @property
    def peak(self) -> int:
        return max(self.peaks.values())

    @property
    def total(self) -> Work:
        total = Work()
        for work in self.phases.values():
            total.add(work)
        return total


def input_size(cfg: Config) -> Size:
    """(H, W) of the images that the config trains on.

    Raises:
        UserError: the config does not tell it.
    """
    size = cfg.model.get('data_preprocessor', {}).get('size')
    dataset = cfg.train_dataloader.dataset
    while size is None and dataset is not None:  # inside of wrappers, such as RepeatDataset
        size, dataset = dataset.get('image_size'), dataset.get('dataset')
    if size is None:
        raise UserError(
            'The config does not say how large its images are: set model.data_preprocessor.size.'
        )
    return as_size(size, 'model.data_preprocessor.size')


def estimate_step(cfg: Config, *, batch: int, gpus: int = 1) -> StepEstimate:
    """What a training step of ``batch`` images takes on each of ``gpus`` GPUs.

    The images have the size of the input and as many segments as there are cluster centers, which
    is the worst case.

    Raises:
        UserError: the model is not one of this package, or the config does not tell the size.
    """
    cfg, ledger, size = copy.deepcopy(cfg), Ledger(), input_size(cfg)
    with ExitStack() as inside:
        enter = inside.enter_context
        enter(mistakes_as_user_errors())
        inside.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.WARNING)
        model = build_without_values(cfg.model)
        if not isinstance(model, CMTDeepLab):
            raise UserError(
                f'The model {type(model).__name__} cannot be estimated: take one of this package.'
            )
        model.train()
        enter(pretended_processes(gpus))
        enter(FakeTensorMode(allow_non_fake_inputs=True))
        enter(ledger)
        enter(Host(ledger))
        return _estimate(cfg, model, ledger, size, batch, gpus)


def _estimate(
    cfg: Config, model: nn.Module, ledger: Ledger, size: Size, batch: int, gpus: int
) -> StepEstimate:
    ledger.phase = 'weights'
    model.to_empty(device='cpu')
    copies = [
        [torch.empty_like(parameter) for parameter in model.parameters()]
        for hook in cfg.get('custom_hooks') or ()
        if 'EMA' in name_of(hook['type'])
    ]
    weights = ledger.live
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = sum(map(size_of, trained))
    wrapper = _optim_wrapper(cfg.optim_wrapper, model)
    ledger.phase = 'gradients and states'
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    wrapper.optimizer.step()  # makes its states
    states = ledger.live - weights - gradients
    buckets = [torch.empty(gradients // 4)] if gpus > 1 else []
    if wrapper._accumulative_counts == 1:
        wrapper.zero_grad()
    ledger.restart()
    wrapper.initialize_count_status(model, 0, 1)
    ledger.phase = 'forward'
    data = fake_batch(model, size, batch)
    model.criterion.register_forward_pre_hook(lambda *_: setattr(ledger, 'phase', 'criterion'))
    with wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    ledger.phase = 'backward'
    wrapper.backward(wrapper.scale_loss(loss))
    ledger.phase = 'optimizer'
    wrapper.step()
    del copies, buckets
    by_phase, by_file = {phase: Work() for phase in PHASES}, {}
    for (phase, place), work in ledger.work.items():
        by_phase[phase].add(work)
        by_file.setdefault(place.partition(':')[0], Work()).add(work)
    held = sorted(ledger.held_at_peak.items(), key=lambda item: -item[1][0])
    return StepEstimate(
        batch=batch,
        gpus=gpus,
        size=size,
        weights=weights,
        gradients=gradients,
        optimizer=states,
        peaks={phase: ledger.peaks[phase] for phase in PHASES},
        largest=[
            dict(place=place, bytes=total, tensors=number, form=ledger.largest[place][1])
            for place, (total, number) in held
            if total
        ],
        waits=[
            dict(kind=kind, place=place, number=number)
            for (kind, place), number in ledger.waits.most_common()
        ],
        collectives=ledger.collectives + (-(-gradients // BUCKET) if gpus > 1 else 0),
        phases=by_phase,
        files=dict(sorted(by_file.items(), key=lambda item: -item[1].seconds)),
    )


def _optim_wrapper(config: dict, model: nn.Module) -> OptimWrapper:
    """The wrapper as on a GPU: with a fused optimizer, and bfloat16 for either half precision."""
    if 'dtype' in config or 'Amp' in name_of(config['type']):
        config['dtype'] = 'bfloat16'
    optimizer = config['optimizer']
    if name_of(optimizer['type']) in ('Adam', 'AdamW', 'SGD') and 'foreach' not in optimizer:
        optimizer.setdefault('fused', True)
    return build_optim_wrapper(model, config)


def fake_batch(model: CMTDeepLab, size: Size, batch: int) -> dict:
    """A batch as the data loader gives it, of fake tensors."""
    number = model.panoptic_head.transformer_decoder.centers.shape[-1]
    samples = []
    for image in range(batch):
        sample = DetDataSample(metainfo=dict(img_id=image, img_shape=size, ori_shape=size))
        sample.gt_panoptic_seg = PanopticIndexData(
            metainfo=dict(labels=(0,) * number, num_classes=model.num_classes),
            index_map=torch.empty(1, *size, dtype=torch.int16),
        )
        sample.gt_segments = InstanceData(
            labels=torch.empty(number, dtype=torch.int64),
            is_crowd=torch.empty(number, dtype=torch.bool),
            ids=torch.empty(number, dtype=torch.int64),
        )
        samples.append(sample)
    images = [torch.empty(3, *size, dtype=torch.uint8) for _ in samples]
    return dict(inputs=images, data_samples=samples)


@contextmanager
def pretended_processes(number: int) -> Iterator[None]:
    """A context in which ``number`` processes seem to train together, with the norms of a GPU."""
    if number == 1:
        yield
        return
    dist.init_process_group('fake', rank=0, world_size=number, store=FakeStore())
    try:
        with torch.library._scoped_library('aten', 'IMPL') as library:
            for name, shapes in NORM_KERNELS.items():
                library.impl(name, shapes, 'Meta')
            with patch.object(PanopticSyncBN, '_synchronized', PanopticSyncBN._fused):
                yield
    finally:
        dist.destroy_process_group()


def _rows(x: torch.Tensor, number: int) -> tuple[torch.Tensor, ...]:
    return tuple(x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(number))


# The results of the kernels of synchronized norms, for which torch has no shape functions.
NORM_KERNELS = {
    'batch_norm_stats': lambda x, eps: _rows(x, 2),
    'batch_norm_gather_stats_with_counts': lambda x, *others: _rows(x, 2),
    'batch_norm_elemt': lambda x, *others: torch.empty_like(x),
    'batch_norm_backward_reduce': lambda grad, x, *others: _rows(x, 4),
    'batch_norm_backward_elemt': lambda grad, x, *others: torch.empty_like(x),
}
