"""Tensors that are on a GPU by all that code can ask of them, and are computed on the CPU.

Inside of :func:`pretended_gpu` such tensors come out of ``.to(device)`` and of ``device=``. They
have real values. Where one meets a tensor of the CPU, an error is raised as on a GPU, and NumPy
refuses them. The process cannot be used for anything else afterwards.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from cmt_deeplab.estimate import pretended_device
from cmt_deeplab.estimate.ledger import IS_CUDA, NUMBERS, Ledger
from cmt_deeplab.estimate.pretended import pretended_stream
from cmt_deeplab.models.blocks import fused_batch_norm
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

COPIES = {'_to_copy', 'copy_', '_copy_from'}
INDEXING = {'index', 'index_put_', '_index_put_impl_', 'index_put'}  # may read indices of the CPU


class OnDevice(Tensor):
    """A tensor of the pretended GPU; ``inner`` holds its values."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> 'OnDevice':
        form = dict(strides=inner.stride(), storage_offset=inner.storage_offset())
        device = pretended_device()
        self = Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device=device, **form
        )
        self.inner = inner
        return self

    def __repr__(self) -> str:  # the usual one reads values
        return f'OnDevice({self.inner!r})'

    is_cuda = property(lambda self: True)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


def is_device(value: Any) -> bool:
    return isinstance(value, torch.device) and value.type == pretended_device().type


def computed(func: Any, args: tuple, kwargs: dict) -> Any:
    """The result of an operator of torch, on the pretended GPU if its arguments are there."""
    name = func._overloadpacket.__name__
    read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = any(isinstance(tensor, OnDevice) for tensor in read)
    stray = [tensor for tensor in read if not isinstance(tensor, OnDevice) and tensor.dim()]
    if name in INDEXING:
        stray = [tensor for tensor in stray if tensor is args[0]]
    if here and stray and name not in COPIES:
        forms = [(type(tensor).__name__, tuple(tensor.shape)) for tensor in read]
        raise RuntimeError(f'{name}: tensors on two devices: {forms}.')
    target = kwargs.get('device')
    kwargs = {key: torch.device('cpu') if is_device(x) else x for key, x in kwargs.items()}
    plain = lambda tree: tree_map_only(OnDevice, lambda tensor: tensor.inner, tree)
    out = func(*plain(args), **plain(kwargs))
    if name == 'copy_':
        return args[0]
    if is_device(target) or (here and target is None):
        out = tree_map_only(Tensor, OnDevice, out)
        return return_and_correct_aliasing(func, args, kwargs, out) if here else out
    return out


class Watched(TorchDispatchMode):
    """Counts where the host waits for the pretended GPU, by kind and place."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(pretended_device().type)
        self.ledger.has = lambda tensor: isinstance(tensor, OnDevice)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace != 'prim':
            kind = self.ledger.wait_of(func._overloadpacket.__name__, args, kwargs)
            if kind is not None:
                self.ledger.wait(kind)
        return computed(func, args, kwargs)

    def waits(self) -> Counter[tuple[str, str]]:
        """Their number by kind and file since the last call."""
        found: Counter[tuple[str, str]] = Counter()
        for (kind, place), number in self.ledger.waits.items():
            found[kind, place.partition(':')[0]] += number
        self.ledger.waits.clear()
        return found


class Numbers(TorchFunctionMode):
    """Makes tensors of Python numbers on the CPU and copies them; torch would do so unseen."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func == IS_CUDA:
            return isinstance(args[0], OnDevice)
        if func is Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].cpu().tolist()
        if func is Tensor.new_tensor:
            first, *args = args
            kwargs = dict(dtype=first.dtype, device=first.device) | kwargs
            func = torch.tensor
        device = kwargs.get('device')
        if func in NUMBERS and device is not None:
            kwargs['device'] = 'cpu'
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


@contextmanager
def pretended_gpu() -> Iterator[Watched]:
    """A context in which the pretended GPU is there, and what mmengine takes for its device."""
    watched = Watched()
    stream = pretended_stream(watched.ledger)
    with (
        patch('mmengine.device.utils.DEVICE', str(pretended_device())),
        patch('torch.cuda.current_stream', stream),
        patch.object(fused_batch_norm, '_kernels', lambda x: fused_batch_norm.formulas),
        watched,
        Numbers(),
    ):
        yield watched
