"""Size and cost of a network as inference runs it: trainable parameters and multiply-accumulates, by part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from cmt_deeplab.errors import MissingFileError

PARTS = (
    'backbone',
    'pixel_decoder',
    'layers',
    'centers',
    'predictor',
)  # of this package's models, in the order of a table


@dataclass(frozen=True)
class PartCost:
    params: int
    macs: int


@dataclass(frozen=True)
class NetworkCost:
    """``params`` and ``macs`` are the sums over ``parts``."""

    params: int
    macs: int
    parts: dict[str, PartCost]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``{"params", "macs", "parts": {name: {"params", "macs"}}}``."""
        return asdict(self)


def load_config(path: str, cfg_options: dict | None = None) -> Config:
    """The config file with its overrides, its modules imported and its scope set.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not Path(path).is_file():
        raise MissingFileError(
            f'The config {path} does not exist; the configs of this project lie in configs/.'
        )
    config = Config.fromfile(path)
    config.merge_from_dict(cfg_options or {})
    import_modules_from_strings(**config.get('custom_imports', dict(imports=[])))
    init_default_scope(config.get('default_scope', 'mmdet'))
    return config


def part_of(path: str) -> str:
    """Part that a module or parameter belongs to, by its path in the model: one of ``PARTS``, or else the model's child that holds it.

    The layers of a transformer decoder, mmdet's included, are 'layers' with all that is inside them.
    """
    names = path.split('.')
    if 'transformer_decoder' in names and {'stages', 'layers'} & set(
        names[names.index('transformer_decoder') :]
    ):
        return 'layers'
    return next((part for part in PARTS if part in names), names[0] or 'other')


class _ReadParameters(TorchFunctionMode):
    """Notes which of the named tensors are handed to an operation: what only training reads does not show up."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = {id(tensor): name for name, tensor in tensors.items()}
        self.read: set[str] = set()

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for value in (*args, *kwargs.values()):
            for item in value if isinstance(value, (list, tuple)) else (value,):
                if id(item) in self.names:
                    self.read.add(self.names[id(item)])
        return func(*args, **kwargs)


@contextmanager
def _macs_by_module(model: nn.Module) -> Iterator[dict[str, int]]:
    """Inside, multiply-accumulates add up in the dict under the path of the innermost running module, '' being the model."""
    counter, macs, stack, seen = FlopCounterMode(display=False), {}, [''], 0

    def settle() -> None:
        nonlocal seen
        total = counter.get_total_flops()
        if total != seen:
            macs[stack[-1]] = (
                macs.get(stack[-1], 0) + (total - seen) // 2
            )  # torch counts a multiply-accumulate as two operations
            seen = total

    def enter(path: str) -> Callable:
        def hook(*_: Any) -> None:
            settle()
            stack.append(path)

        return hook

    def leave(*_: Any) -> None:
        settle()
        stack.pop()

    handles = []
    for path, module in model.named_modules():
        handles += [
            module.register_forward_pre_hook(enter(path)),
            module.register_forward_hook(leave),
        ]
    try:
        with counter:
            yield macs
            settle()
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as products that the counter knows, not as one fused kernel."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _run(model: nn.Module, shape: Sequence[int], *, fake: bool) -> tuple[dict[str, int], set[str]]:
    """Multiply-accumulates by path of module and the names of the parameters read; on stand-ins without values where ``fake``."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    size = tuple(shape)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
        )
    )
    # Detached, for the counter follows the modules of what could have a gradient.
    tensors = {
        name: tensor.detach()
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_plain_attention())
        if fake:
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            tensors = {
                name: torch.empty_like(tensor, device='cpu') for name, tensor in tensors.items()
            }
        inputs = torch.zeros(1, 3, *size, device='cpu' if fake else next(model.parameters()).device)
        macs = stack.enter_context(_macs_by_module(model))
        parameters = stack.enter_context(_ReadParameters(tensors))
        torch.func.functional_call(model, tensors, (inputs, [sample]), dict(mode='tensor'))
    return macs, parameters.read


def network_cost(model: nn.Module, shape: Sequence[int]) -> NetworkCost:
    """Cost of one image of ``shape`` (H, W) through mmdet's 'tensor' mode: the network without the merge.

    ``params`` are the trainable parameters that this forward pass reads, so heads and predictors that serve training alone do not count.
    ``macs`` are those of convolutions and matrix products (attention, einsum and bmm are such), in the sources' words FLOPs; norms,
    activations, softmax and resizing are free. Nothing is computed and no memory taken, whatever the size: shapes travel without values,
    so the model may lie on torch's device 'meta'. A network whose flow depends on values (mmdet's Mask2Former, which asks which masks are
    empty) is run for real instead, where it has weights.
    """
    training = model.training
    model.eval()
    try:
        macs, read = _run(model, shape, fake=True)
    except (
        RuntimeError
    ):  # the stand-ins' errors are such; an error of the network itself comes up again
        if next(model.parameters()).is_meta:
            raise
        macs, read = _run(model, shape, fake=False)
    finally:
        model.train(training)
    params: dict[str, int] = {}
    for path, parameter in model.named_parameters():
        if parameter.requires_grad and path in read:
            params[part_of(path)] = params.get(part_of(path), 0) + parameter.numel()
    by_part: dict[str, int] = {}
    for path, count in macs.items():
        by_part[part_of(path)] = by_part.get(part_of(path), 0) + count
    names: list[str] = sorted(
        {*params, *by_part},
        key=lambda name: (PARTS.index(name) if name in PARTS else len(PARTS), name),
    )
    parts = {name: PartCost(params.get(name, 0), by_part.get(name, 0)) for name in names}
    return NetworkCost(sum(params.values()), sum(by_part.values()), parts)


def config_cost(model_config: dict, shape: Sequence[int]) -> NetworkCost:
    """:func:`network_cost` of a model's config, built on the device 'meta', without its weights, where everything in it can be."""
    try:
        with torch.device('meta'):
            return network_cost(MODELS.build(model_config), shape)
    except RuntimeError:  # a value is read: while building (timm) or while running
        return network_cost(MODELS.build(model_config), shape)
