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
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import Variable
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .cost import Work, tensors, work_of
from .known_values import follow, known_number, shape_as_tensor

BLOCK = 512  # bytes, of which torch's allocator gives multiples
RUN, SETS = 16, 1 << 12  # pixels between two that nonzero finds; different values of a tensor
# Modules that work for others: an operation in them counts at the place that calls them.
PASSING_ON = (
    'cmt_deeplab.estimate',
    'cmt_deeplab.precision',
    'cmt_deeplab.models.blocks.recompute',
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
NUMBERS = (torch.tensor, torch.as_tensor)  # which make tensors of Python numbers
IS_CUDA = Tensor.is_cuda.__get__
WAITING = {'nonzero', '_unique2', 'unique_dim', 'unique_consecutive', 'masked_select', 'equal'}


class Ledger(TorchDispatchMode):
    """A context that counts the memory of fake tensors until they are freed, and all operations.

    The caller sets :attr:`phase`. A place is FILE:LINE in this package, or in a library where no
    code of this package calls it; in the backward pass it is the place of the operation whose
    gradient is computed. Where the number of results depends on values, many are assumed.

    Args:
        device: the type of the device whose tensors and operations are counted.
        pixels: those of the picture that a prediction paints.
        number: what the host reads where it reads an integer.
    """

    def __init__(self, device: str = 'cpu', pixels: int = 0, number: int = 1) -> None:
        super().__init__()
        self.device, self.pixels, self.number = device, pixels, number
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
        if key in self._known or not self.has(tensor):
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
        kwargs, name = kwargs or {}, func._overloadpacket.__name__
        if func.namespace == 'prim':  # such as a look at the device of a tensor
            return func(*args, **kwargs)
        place = self.place()
        if kind := self.wait_of(name, args, kwargs):
            self.waits[kind, place] += 1
        if name == '_local_scalar_dense' and isinstance(args[0], FakeTensor):
            if (known := known_number(args[0])) is not None:
                return known
            dtype = args[0].dtype
            return dtype.is_floating_point or dtype == torch.bool or self.number
        if name == '_to_copy' and isinstance(args[0], FakeTensor):
            args[0].constant = None  # else torch copies the values of small tensors too
        out = self.of_unknown_size(name, args, kwargs)
        if out is None:
            out = func(*args, **kwargs)
        follow(func, args, kwargs, out)
        found = tensors(args, kwargs, out)
        for tensor in found:
            self.hold(tensor, place)
        if func.namespace in ('c10d', '_c10d_functional'):
            self.collectives += name != 'wait_tensor'
        elif any(map(self.has, found)):
            self.work[self.phase, place].add(work_of(func, args, kwargs, out))
        elif not tensors(args, kwargs) and any(tensor.numel() > 1 for tensor in found):
            self.waits['tensor of the host', place] += 1
        return out

    def wait(self, kind: str) -> None:
        """Count a wait of the host that is none of torch's operators."""
        self.waits[kind, place_of(sys._getframe(1)) or self.phase] += 1

    def has(self, tensor: Tensor) -> bool:
        """Whether a tensor is on the device."""
        return isinstance(tensor, FakeTensor) and tensor.fake_device.type == self.device

    def wait_of(self, name: str, args: tuple, kwargs: dict) -> str | None:
        """Why an operator of torch makes the host wait for the device, or None."""
        read = tensors(args)
        if name in ('_to_copy', 'copy_'):
            goal = kwargs.get('device') or read[0].device
            away, here = self.has(read[-1]), goal.type == self.device
            if away == here or kwargs.get('non_blocking') or True in args[2:3]:
                return None
            return 'copy to the host' if away else 'copy to the GPU'
        if not any(map(self.has, read)):
            return None
        if name == '_local_scalar_dense':
            return 'item'
        if name == 'repeat_interleave':
            return None if kwargs.get('output_size') else name
        if name in ('index', 'index_put_', '_index_put_impl_'):
            kinds = {tensor.dtype for tensor in tensors(args[1])}
            if torch.bool in kinds or not all(map(self.has, tensors(args[1]))):
                return 'index'
        return name if name in WAITING else None

    def of_unknown_size(self, name: str, args: tuple, kwargs: dict) -> Any:
        """The result of an operator whose size depends on values, or None for another."""
        if name == 'nonzero':
            return args[0].new_empty((-(-args[0].numel() // RUN), args[0].dim()), dtype=torch.int64)
        if name == '_unique2':
            inverse = torch.empty_like(args[0], dtype=torch.int64)
            return args[0].new_empty(min(SETS, args[0].numel())), inverse, inverse.new_empty(0)
        if name == 'repeat_interleave' and not kwargs.get('output_size'):
            return args[0].new_empty(self.pixels, dtype=torch.int64)
        return None


class Host(TorchFunctionMode):
    """A context in which the host reads random numbers between 0.05 and 0.95 from fake tensors.

    Tensors of the device say that they are on a GPU, and autocast computes the same operations in
    fp32 as there.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger, self.random = ledger, np.random.default_rng(0)

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, '__name__', '')
        first = args[0] if args else None
        if func is Tensor.backward:  # the engine alone leaves this context open for recomputation
            with self:
                start = ((first,), (torch.ones_like(first),), False, False, ())
                run = Variable._execution_engine.run_backward
                return run(*start, allow_unreachable=True, accumulate_grad=True)
        if func is torch._shape_as_tensor:
            return shape_as_tensor(first)
        if func is Tensor.new_tensor:
            func, args = torch.tensor, args[1:]
            kwargs = dict(dtype=first.dtype, device=first.device) | kwargs
        if func in NUMBERS and torch.device(kwargs.get('device') or 'cpu').type != 'cpu':
            self.ledger.wait('copy of Python numbers')
            device = kwargs.pop('device')
            return func(*args, **kwargs).to(device, non_blocking=True)
        if func == IS_CUDA and isinstance(first, FakeTensor):
            return self.ledger.has(first)
        if func in (Tensor.numpy, Tensor.tolist) and isinstance(first, FakeTensor):
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
