"""A hook that notes what a run shows: gradients, outputs, losses, metrics and live objects."""

import zlib
from dataclasses import dataclass, field
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook


@dataclass
class Evidence:
    """What a run showed.

    ``gradients`` has, per parameter, the best of 'none', 'zero', 'nonzero' over the optimizer
    steps, or 'not finite'. ``output`` is that of the network on fixed noise after training.
    """

    runner: Any = None
    started: int = 0  # iterations
    gradients: dict[str, str] = field(default_factory=dict)
    output: torch.Tensor | None = None
    losses: list[dict[str, float]] = field(default_factory=list)
    rates: list[list[float]] = field(default_factory=list)
    steps: int = 0
    images: list[list[int]] = field(default_factory=list)
    maps: int = 0  # checksum of the predicted segments
    metrics: dict[str, float] = field(default_factory=dict)


class Probe(Hook):
    """Fills an :class:`Evidence` while a runner trains and validates."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seen = Evidence()

    def before_train(self, runner: Any) -> None:
        self.seen.runner = runner
        model = bare(runner.model)
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.seen.gradients = {
            name: 'none' for name, p in model.named_parameters() if p.requires_grad
        }
        self.handle = register_optimizer_step_pre_hook(self.before_step)

    def before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self.seen.steps += 1
        self.seen.rates.append([group['lr'] for group in optimizer.param_groups])
        for group in optimizer.param_groups:
            for parameter in group['params']:
                name = self.names.get(id(parameter))
                if name not in self.seen.gradients or parameter.grad is None:
                    continue
                before = self.seen.gradients[name]
                if before == 'not finite' or not torch.isfinite(parameter.grad).all():
                    self.seen.gradients[name] = 'not finite'
                elif before != 'nonzero':
                    nonzero = bool(parameter.grad.ne(0).any())
                    self.seen.gradients[name] = 'nonzero' if nonzero else 'zero'

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.seen.started += 1

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        self.seen.losses.append({k: float(v) for k, v in (outputs or {}).items()})
        samples = data_batch['data_samples'] if isinstance(data_batch, dict) else ()
        if isinstance(samples, (list, tuple)):
            self.seen.images.append([sample.metainfo.get('img_id') for sample in samples])

    def after_train(self, runner: Any) -> None:
        self.handle.remove()
        self.seen.output = output_on_noise(bare(runner.model))
        self.seen.maps = zlib.crc32(map_of_noise(bare(runner.model)), self.seen.maps)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        for sample in outputs or ():
            if 'pred_panoptic_seg' in sample:
                values = sample.pred_panoptic_seg.sem_seg.cpu().to(torch.int32).numpy()
                self.seen.maps = zlib.crc32(values.tobytes(), self.seen.maps)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self.seen.metrics = {k: float(v) for k, v in (metrics or {}).items()}


def bare(model: torch.nn.Module) -> torch.nn.Module:
    return model.module if is_model_wrapper(model) else model


@torch.no_grad()
def output_on_noise(model: torch.nn.Module) -> torch.Tensor:
    """All numbers that the network gives for two images of noise, as one vector."""
    state = torch.get_rng_state()
    training = model.training
    size = tuple(getattr(model.data_preprocessor, 'size', None) or (96, 96))
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    meta = dict(
        img_shape=size,
        ori_shape=size,
        pad_shape=size,
        batch_input_shape=size,
        scale_factor=(1.0, 1.0),
    )
    samples = [DetDataSample(metainfo=meta) for _ in images]
    output = model.eval()._forward(images, samples)
    model.train(training)
    torch.set_rng_state(state)
    return torch.cat([tensor.float().flatten() for tensor in tensors_of(output)])


@torch.no_grad()
def map_of_noise(model: torch.nn.Module) -> bytes:
    """The segments that the merge of one of our models makes of smooth random masks.

    After two iterations all centers predict the same, so the prediction says nothing of the merge.
    """
    if not hasattr(model, 'postprocess'):
        return b''
    random, size = torch.Generator().manual_seed(0), (96, 96)
    masks = torch.randn(1, 16, 6, 6, generator=random)
    result = model.postprocess(
        4 * functional.interpolate(masks, (24, 24), mode='bilinear')[0],
        2 * torch.randn(16, model.num_classes + 1, generator=random),
        input_size=size,
        image_size=size,
        output_size=(120, 120),
        align_corners=False,
    )
    return result.segment_map.numpy().tobytes()


def tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, (list, tuple)) or hasattr(value, '__iter__'):
        return [tensor for part in value for tensor in tensors_of(part)]
    return []
