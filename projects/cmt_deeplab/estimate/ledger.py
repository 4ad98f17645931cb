"""What a step would hold and do on a GPU, counted operation by operation on fake tensors.

torch's fake tensors have shapes but no values, so nothing is computed and no memory is taken.
"""

import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .cost import Work, tensors, work_of

BLOCK = 512  # bytes, of which torch's allocator gives multiples
# Modules that work for others: an operation in them counts at the place that calls them.
PASSING_ON = (
    'cmt_deeplab.estimate',
    'cmt_deeplab.precision',
    'cmt_deeplab.models.blocks.norm',
    'cmt_deeplab.models.blocks.conv_norm',
    'cmt_deeplab.models.blocks.fused_batch_norm',
)
LIBRARIES = {'mmdet', 'mmcv', 'mmengine', 'timm', 'torchvision'}
# What autocast computes in fp32 on a GPU and not on the CPU (docs.pytorch.org/docs/stable/amp.html)
IN_FP32 = {
    *('exp', 'log', 'log_softmax', 'softmax', 'softplus', 'pow', 'prod', 'reciprocal', 'rsqrt'),
    *('sum', 'cumsum', 'norm', 'normalize', 'layer_norm', 'group_norm', 'cosine_similarity'),
}


class Ledger(TorchDispatchMode):
    """A context that counts the memory of fake tensors until they are freed, and all operations.

    The caller sets :attr:`phase`. A place is FILE:LINE in this package, or in a library where no
    code of this package calls it; in the backward pass it is the place of the operation whose
    gradient is computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase = ''
        self.live = self.peak = self.collectives = 0
        self.peaks: Counter[str] = Counter()  # bytes by phase
        self.held: dict[str, list] = defaultdict(lambda: [0, 0])  # by place: bytes, tensors
        self.held_at_peak: dict[str, tuple] = {}
        self.largest: dict[str, tuple[int, str]] = {}  # by place: bytes and form of one tensor
        self.work: dict[tuple[str, str], Work] = defaultdict(Work)  # by phase and place
        self.waits: Counter[tuple[str, str]] = Counter()  # of the host, by kind and place
        self._known: set[int] = set()
        self._places: dict[int, str] = {}  # by the number that autograd gives an operation

    def restart(self) -> None:
        """Forget everything but the tensors that are alive."""
        for record in (self.peaks, self.work, self.waits):
            record.clear()
        self.peak = self.collectives = 0

    def place(self) -> str:
        node = torch._C._current_autograd_node()
        if node is not None:
            return self._places.get(node._sequence_nr(), f'gradient ({node.name()})')
        place = place_of(sys._getframe(2)) or self.phase
        self._places.setdefault(torch._C._autograd._get_sequence_nr() - 1, place)
        return place

    def hold(self, tensor: Tensor, place: str) -> None:
        """Count the memory of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, -(-storage.nbytes() // BLOCK) * BLOCK
        if key in self._known or not isinstance(tensor, FakeTensor):
            return
        self._known.add(key)
        weakref.finalize(storage, self._free, key, size, place)
        self._change(place, size, 1)
        form = f'{str(tensor.dtype).removeprefix("torch.")} {tuple(tensor.shape)}'
        self.largest[place] = max(self.largest.get(place, (0, '')), (size, form))
        self.peaks[self.phase] = max(self.peaks[self.phase], self.live)
        if self.live > self.peak:
            self.peak = self.live
            self.held_at_peak = {where: tuple(found) for where, found in self.held.items()}

    def _free(self, key: int, size: int, place: str) -> None:
        self._known.discard(key)
        self._change(place, -size, -1)

    def _change(self, place: str, size: int, number: int) -> None:
        self.live += size
        self.held[place][0] += size
        self.held[place][1] += number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs, name, place = kwargs or {}, func._overloadpacket.__name__, self.place()
        if name == 'nonzero':  # their number is unknown, so one is assumed
            self.waits[name, place] += 1
            out = args[0].new_empty((1, args[0].dim()), dtype=torch.int64)
        else:
            try:
                out = func(*args, **kwargs)
            except DataDependentOutputException:
                self.waits['item', place] += 1
                return args[0].dtype.is_floating_point or args[0].dtype == torch.bool or 1
        for tensor in tensors(args, kwargs, out):
            self.hold(tensor, place)
        if func.namespace == 'c10d':
            self.collectives += 1
        else:
            self.work[self.phase, place].add(work_of(func, args, kwargs, out))
        return out


class Host(TorchFunctionMode):
    """A context in which the host reads random numbers between 0.05 and 0.95 from fake tensors.

    The fake tensors are on the CPU; here autocast computes the same operations in fp32 as on a GPU.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger, self.random = ledger, np.random.default_rng(0)

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, '__name__', '')
        first = args[0] if args else None
        if func is torch.tensor and 'device' in kwargs:
            self.ledger.waits['copy of Python numbers', self.ledger.place()] += 1
        elif func is Tensor.cpu:
            self.ledger.waits['copy to the host', self.ledger.place()] += 1
        elif func in (Tensor.numpy, Tensor.tolist) and isinstance(first, FakeTensor):
            kind = str(first.dtype).removeprefix('torch.')
            values = self.random.uniform(0.05, 0.95, first.shape).astype(kind)
            return values if name == 'numpy' else values.tolist()
        elif name in IN_FP32 and torch.is_autocast_enabled('cpu'):
            if isinstance(first, Tensor) and first.dtype == torch.bfloat16:
                args = (first.float(), *args[1:])
        return func(*args, **kwargs)


def place_of(frame: FrameType | None) -> str:
    """The innermost line of this package that calls an operation, or else that of a library."""
    other = ''
    while frame is not None:
        name = frame.f_globals.get('__name__') or ''
        own = name.startswith('cmt_deeplab.') and not name.startswith(PASSING_ON)
        if own or (not other and name.partition('.')[0] in LIBRARIES):
            file = name.removeprefix('cmt_deeplab.').replace('.', '/')
            other = f'{file}.py:{frame.f_lineno}'
        if own:
            break
        frame = frame.f_back
    return other
