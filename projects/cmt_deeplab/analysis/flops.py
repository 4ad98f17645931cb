"""Size and cost of a network at inference: parameters and multiply-accumulates, by part."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from .config_model import build_without_values

# The parts of this package's models, in the order of a table.
PARTS = ('backbone', 'pixel_decoder', 'layers', 'centers', 'predictor')


@dataclass(frozen=True)
class PartCost:
    params: int
    macs: int


@dataclass(frozen=True)
class NetworkCost:
    """``params`` and ``macs`` are the sums over ``parts``.

    ``training_only`` has the trainable parameters that inference does not read, by the modules that
    hold them, and ``frozen`` counts those that are not trainable. ``params`` and these two make the
    number that mmdet's ``get_flops.py`` prints, which counts every parameter of the model.
    """

    params: int
    macs: int
    parts: dict[str, PartCost]
    training_only: dict[str, int]
    frozen: int

    @property
    def all_params(self) -> int:
        return self.params + sum(self.training_only.values()) + self.frozen


def part_of(path: str) -> str:
    """The part that a module or parameter belongs to, by its path in the model.

    It is one of ``PARTS``, or else the model's child that holds it. The layers of a transformer
    decoder, mmdet's included, are 'layers' with all that is inside them.
    """
    names = path.split('.')
    if 'transformer_decoder' in names:
        inside = names[names.index('transformer_decoder') :]
        if 'stages' in inside or 'layers' in inside:
            return 'layers'
    return next((part for part in PARTS if part in names), names[0] or 'other')


class _ReadParameters(TorchFunctionMode):
    """Notes which of the named tensors an operation reads, and so which of them only train."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = {id(tensor): name for name, tensor in tensors.items()}
        self.read: set[str] = set()

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        self.read.update(self.names[id(leaf)] for leaf in leaves if id(leaf) in self.names)
        return func(*args, **kwargs)


def _macs_by_part(counter: FlopCounterMode) -> Counter[str]:
    """Multiply-accumulates by part, of the counter's operations by module.

    The counter's names begin with the model's class, or are 'Global', which counts as much as the
    model. A module's count holds those of all modules inside it, so each is taken away from the
    innermost module around it.
    """
    counts = counter.get_flop_counts().items()
    # By path in the model; torch counts a multiply-accumulate as two operations.
    inside = {name.partition('.')[2]: sum(found.values()) // 2 for name, found in counts}
    macs: Counter[str] = Counter()
    for path, count in inside.items():
        macs[part_of(path)] += count
        if path:
            around = (other for other in inside if path.startswith(f'{other}.'))
            macs[part_of(max(around, key=len, default=''))] -= count
    return +macs  # without the parts that have none


@contextmanager
def _without_proposals(model: nn.Module) -> Iterator[None]:
    """Within it, the 'tensor' mode of models such as Mask R-CNN and Panoptic FPN runs each network.

    mmdet's own selects boxes by compiled operators, counts as many as random weights happen to
    give, and leaves the semantic head out. Here the box heads get as many empty regions as
    ``test_cfg.rpn.max_per_img`` allows and the mask heads ``test_cfg.rcnn.max_per_img``, the most
    that an image can have. Models with other heads for regions keep mmdet's way.
    """
    roi_head = getattr(model, 'roi_head', None)
    if type(roi_head) not in (StandardRoIHead, CascadeRoIHead) or roi_head.with_shared_head:
        yield
        return

    def several(modules: nn.Module) -> Sequence[nn.Module]:
        return modules if isinstance(modules, nn.ModuleList) else (modules,)

    def forward(inputs: Tensor, data_samples: Any = None) -> None:
        features = model.extract_feat(inputs)
        model.rpn_head(features)
        if getattr(model, 'semantic_head', None) is not None:
            model.semantic_head(features)
        for kind, limit in (('bbox', model.test_cfg.rpn), ('mask', model.test_cfg.rcnn)):
            if not getattr(roi_head, f'with_{kind}'):
                continue
            heads = several(getattr(roi_head, f'{kind}_head'))
            for extractor, head in zip(several(getattr(roi_head, f'{kind}_roi_extractor')), heads):
                size = extractor.roi_layers[0].output_size
                head(features[0].new_zeros(limit.max_per_img, extractor.out_channels, *size))

    model._forward = forward
    try:
        yield
    finally:
        del model._forward


def _training_only(model: nn.Module, read: set[str]) -> dict[str, int]:
    """Sizes of the trainable parameters that are not in ``read``, by the largest module of them.

    The numbers in a path are written ``*``, so that equal parts of several layers are one entry.
    """
    found: Counter[str] = Counter()
    for path, parameter in model.named_parameters():
        if path in read or not parameter.requires_grad:
            continue
        names = path.split('.')
        modules = ('.'.join(names[:end]) for end in range(1, len(names)))
        whole = (m for m in modules if not any(name.startswith(f'{m}.') for name in read))
        found[re.sub(r'\b\d+\b', '*', next(whole, path))] += parameter.numel()
    return dict(found)


def _run(model: nn.Module, shape: Sequence[int], *, fake: bool) -> tuple[Counter[str], set[str]]:
    """Multiply-accumulates by part and the names of the parameters read; ``fake`` runs on stand-ins
    that have shapes and no values.
    """
    size = tuple(shape)
    sizes = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size)
    sample = DetDataSample(metainfo=dict(sizes, scale_factor=(1.0, 1.0)))
    # Detached, for the counter follows the modules of what could have a gradient.
    named = (*model.named_parameters(), *model.named_buffers())
    tensors = {name: tensor.detach() for name, tensor in named}
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext()
    # Attention as matrix products, which the counter knows, not as one fused kernel.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _without_proposals(model), mode:
        device = 'cpu' if fake else next(model.parameters()).device
        if fake:
            tensors = {n: torch.empty_like(t, device=device) for n, t in tensors.items()}
        inputs = torch.zeros(1, 3, *size, device=device)
        with FlopCounterMode(display=False) as counter, _ReadParameters(tensors) as parameters:
            torch.func.functional_call(model, tensors, (inputs, [sample]), dict(mode='tensor'))
    return _macs_by_part(counter), parameters.read


def network_cost(model: nn.Module, shape: Sequence[int]) -> NetworkCost:
    """Cost of one image of ``shape`` (H, W) through mmdet's 'tensor' mode: without the merge.

    Heads for regions count for the largest number of regions.

    ``params`` are the trainable parameters that this forward pass reads, so heads and predictors
    that serve training alone do not count. ``macs`` are those of convolutions and matrix products,
    attention included; the papers call them FLOPs. Norms, activations, softmax and resizing are
    free. Nothing is computed and no memory is taken: shapes travel without values, so the model may
    lie on torch's device 'meta'. A network whose flow depends on values (mmdet's Mask2Former asks
    which masks are empty) is run for real instead, where it has weights.
    """
    training = model.training
    model.eval()
    try:
        macs, read = _run(model, shape, fake=True)
    except RuntimeError:  # a stand-in was asked for a value; an error of the network comes up again
        if next(model.parameters()).is_meta:
            raise
        macs, read = _run(model, shape, fake=False)
    finally:
        model.train(training)
    params: Counter[str] = Counter()
    for path, parameter in model.named_parameters():
        if parameter.requires_grad and path in read:
            params[part_of(path)] += parameter.numel()
    found = params | macs
    names = [*PARTS, *sorted(found)]
    return NetworkCost(
        params=params.total(),
        macs=macs.total(),
        parts={name: PartCost(params[name], macs[name]) for name in names if name in found},
        training_only=_training_only(model, read),
        frozen=sum(p.numel() for p in model.parameters() if not p.requires_grad),
    )


def config_cost(model_config: dict, shape: Sequence[int]) -> NetworkCost:
    """:func:`network_cost` of a config's model, without its weights where that is possible."""
    try:
        return network_cost(build_without_values(model_config), shape)
    except RuntimeError:  # the network reads values while it runs
        return network_cost(MODELS.build(model_config), shape)
