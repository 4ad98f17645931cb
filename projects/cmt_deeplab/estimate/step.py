"""A training step or a prediction on fake tensors: memory by phase, and work by place."""

import copy
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.construction import name_of
from cmt_deeplab.criterion.loss_input import AT_ONCE
from cmt_deeplab.engine.distributed import BUCKET_CAP_MB
from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.geometry import Size, as_size
from cmt_deeplab.models.detectors.cmt_deeplab import CMTDeepLab

from .cost import Work, size_of
from .ledger import Host, Ledger
from .pretended import fake_batch, pretended_device, pretended_gpus, pretended_stream


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
    peaks: dict[str, int]
    largest: list[dict]
    waits: list[dict]
    collectives: int
    phases: dict[str, Work]
    files: dict[str, Work]
    gradients: int = 0
    optimizer: int = 0

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


def estimate_step(
    cfg: Config, *, batch: int, gpus: int = 1, device: str | torch.device = 'cpu'
) -> StepEstimate:
    """What a training step of ``batch`` images takes on each of ``gpus`` GPUs.

    The images have the size of the input and as many segments as there are cluster centers, which
    is the worst case. On the CPU autocast computes as on a GPU; on the pretended device the host's
    copies to it are found too.

    Raises:
        UserError: the model is not one of this package, or the config does not tell the size.
    """
    cfg, ledger, size = copy.deepcopy(cfg), Ledger(torch.device(device).type), input_size(cfg)
    with traced(cfg, ledger, gpus, device) as model:
        return _estimate(cfg, model, ledger, size, batch, gpus)


def estimate_prediction(cfg: Config, *, batch: int = 1, output: Size | None = None) -> StepEstimate:
    """What a prediction of ``batch`` images takes, of which each fills the input of the network.

    ``output`` is the size (H, W) of the pictures that are painted, which is by default that of the
    input. All centers are candidates, the worst case. Unlike a training step this runs on
    a pretended device, so that the host's copies to it are found too; one process can not take it
    back, so do not train in it afterwards.

    Raises:
        UserError: as :func:`estimate_step`, or torch is too old.
    """
    cfg, size, device = copy.deepcopy(cfg), input_size(cfg), pretended_device()
    output = output or size
    number = cfg.model.panoptic_head.transformer_decoder.num_centers
    ledger = Ledger(device.type, pixels=output[0] * output[1], number=number)
    with traced(cfg, ledger, device=device) as model, torch.no_grad():
        model.eval()
        weights, ledger.phase = ledger.live, 'network'
        model.postprocess.register_forward_pre_hook(lambda *_: setattr(ledger, 'phase', 'merge'))
        data = fake_batch(model, size, batch, output)
        ledger.restart()
        model.test_step(data)
        return _summary(ledger, batch=batch, gpus=1, size=output, weights=weights)


@contextmanager
def traced(
    cfg: Config, ledger: Ledger, gpus: int = 1, device: str | torch.device = 'cpu'
) -> Iterator[CMTDeepLab]:
    """A context that records all operations in ``ledger``; gives the model, on fake tensors.

    Raises:
        UserError: the model is not one of this package.
    """
    with ExitStack() as inside:
        enter = inside.enter_context
        enter(mistakes_as_user_errors())
        inside.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.WARNING)
        init_default_scope(cfg.get('default_scope', 'mmdet'))  # a runner does it, but later
        model = build_without_values(cfg.model)
        if not isinstance(model, CMTDeepLab):
            raise UserError(
                f'The model {type(model).__name__} cannot be estimated: take one of this package.'
            )
        enter(pretended_gpus(gpus))
        enter(FakeTensorMode(allow_non_fake_inputs=True))
        enter(ledger)
        enter(Host(ledger))
        enter(patch('torch.cuda.current_stream', pretended_stream(ledger)))
        enter(patch.dict(AT_ONCE, cpu=AT_ONCE['cuda']))
        enter(patch('torch.nn.utils.clip_grad._has_foreach_support', return_value=True))
        ledger.phase = 'weights'
        model.to_empty(device=device)
        model._set_device(torch.device(device))
        yield model.train()


def _estimate(
    cfg: Config, model: CMTDeepLab, ledger: Ledger, size: Size, batch: int, gpus: int
) -> StepEstimate:
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
    if wrapper._accumulative_counts == 1:
        wrapper.zero_grad()
    data = fake_batch(model, size, batch)
    ledger.restart()
    wrapper.initialize_count_status(model, 0, 1)
    ledger.phase = 'forward'
    model.criterion.register_forward_pre_hook(lambda *_: setattr(ledger, 'phase', 'criterion'))
    with wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    ledger.phase = 'backward'
    wrapper.backward(wrapper.scale_loss(loss))
    ledger.phase = 'optimizer'
    wrapper.step()
    del copies
    estimate = dict(batch=batch, gpus=gpus, size=size, weights=weights)
    buckets = ddp_buckets(cfg, trained) if gpus > 1 else 0
    return _summary(ledger, buckets, **estimate, gradients=gradients, optimizer=states)


def ddp_buckets(cfg: Config, trained: list[nn.Parameter]) -> int:
    """The all-reduces of the gradients, by the rule by which torch fills its buckets.

    It fills them in the order in which the gradients come, about the reverse of the parameters'.
    """
    cap = (cfg.get('model_wrapper_cfg') or {}).get('bucket_cap_mb', BUCKET_CAP_MB)
    limits = [dist._DEFAULT_FIRST_BUCKET_BYTES, 25 << 20] if cap is None else [int(cap * 2**20)]
    return len(dist._compute_bucket_assignment_by_size(trained[::-1], limits)[0])


def _summary(ledger: Ledger, buckets: int = 0, **estimate: Any) -> StepEstimate:
    by_phase, by_file = {}, {}
    for (phase, place), work in ledger.work.items():
        by_phase.setdefault(phase, Work()).add(work)
        by_file.setdefault(place.partition(':')[0], Work()).add(work)
    held = sorted(ledger.held_at_peak.items(), key=lambda item: -item[1][0])
    return StepEstimate(
        **estimate,
        peaks={phase: ledger.peaks[phase] for phase in by_phase},
        largest=[
            dict(place=place, bytes=total, tensors=number, form=ledger.largest[place][1])
            for place, (total, number) in held
            if total
        ],
        waits=[
            dict(kind=kind, place=place, number=number)
            for (kind, place), number in ledger.waits.most_common()
        ],
        collectives=ledger.collectives + buckets,
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
