"""A saved training step: its batch in plain values, and how it is repeated."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn

from cmt_deeplab.datasets.packing import PanopticIndexData
from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.engine.fsdp import whole
from cmt_deeplab.engine.loop.random_state import seed_generators
from cmt_deeplab.engine.runner_setup import build_runner
from cmt_deeplab.errors import UserError
from cmt_deeplab.safe_loading import load_weights_only

ELEMENTS = (DetDataSample, InstanceData, PixelData, PanopticIndexData)
KINDS = {kind.__name__: kind for kind in (*ELEMENTS, BitmapMasks, HorizontalBoxes)}
KIND = 'kind of element'


def plain(value: Any) -> Any:
    """``value`` with dicts in place of data elements, boxes and masks.

    A file of it is read as weights only. Objects of other kinds stay as they are.
    """
    kind = {KIND: type(value).__name__}
    if isinstance(value, BaseDataElement):
        fields = {key: plain(getattr(value, key)) for key in value.keys()}
        return {**kind, 'metainfo': plain(value.metainfo), 'fields': fields}
    if isinstance(value, BitmapMasks):
        return {**kind, 'arguments': [value.masks, value.height, value.width]}
    if isinstance(value, HorizontalBoxes):
        return {**kind, 'arguments': [value.tensor]}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def elements(value: Any) -> Any:
    """What :func:`plain` was given."""
    if isinstance(value, list | tuple):
        return type(value)(map(elements, value))
    if not isinstance(value, dict):
        return value
    kind = KINDS.get(value.get(KIND))
    if kind is None:
        return {key: elements(each) for key, each in value.items()}
    if 'arguments' in value:
        return kind(*value['arguments'])
    element = kind(metainfo=elements(value['metainfo']))
    for key, each in value['fields'].items():
        setattr(element, key, elements(each))
    return element


def replay(config: Config, path: str) -> Iterator[str]:
    """Repeat a step of training that was saved; nothing is updated.

    Yields:
        Lines that tell each loss term beside the value that it had, the first module whose output
        was not finite, and the parameters whose gradients are not.

    Raises:
        UserError: the file holds no step, or its weights are those of another model.
    """
    path = path.replace('_rank0.', f'_rank{get_rank()}.')
    step = load_weights_only(path)
    if not isinstance(step, dict) or not {'batch', 'terms', 'seed', 'state_dict'} <= step.keys():
        raise UserError(
            f'{path} holds no training step; name a not_finite_iter_*.pth of a work dir.'
        )
    config.load_from, config.resume = None, False
    runner = build_runner(config)
    model = unwrapped(runner.model)
    try:
        with whole(runner.model):
            model.load_state_dict(step['state_dict'])
    except RuntimeError as error:
        raise UserError(
            f'{path} has the weights of another model than the config {config.filename}: give the '
            'config that lies beside it.'
        ) from error
    if step['world_size'] != runner.world_size:
        yield (
            f'The step was one of {step["world_size"]} processes, and this is '
            f'{runner.world_size}: norms that all processes compute together differ.'
        )
    wrapper = runner.build_optim_wrapper(config.optim_wrapper)
    wrapper.should_update = lambda: False
    found: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_hook(partial(note, found, name))
    runner.message_hub.update_info('iter', step['iteration'] - 1)
    runner.model.train()
    seed_generators('model', step['seed'], step['iteration'] - 1)
    try:
        terms = runner.model.train_step(elements(step['batch']), optim_wrapper=wrapper)
    except UserError as error:
        yield str(error)
        terms = {}
    for name, value in terms.items():
        yield f'{name}: {value.tolist()} (was {step["terms"].get(name)})'
    yield f'First module whose output is not finite: {found[0] if found else "none"}'
    wrong = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    yield f'Parameters whose gradients are not finite: {", ".join(wrong[:5]) or "none"}'


def note(found: list[str], name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    """Append the name of a module that gives a number that is not finite, as a forward hook."""
    tensors = output.values() if isinstance(output, Mapping) else output
    for tensor in tensors if isinstance(tensors, list | tuple) else [tensors]:
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            found.append(name or 'the model')
            return
