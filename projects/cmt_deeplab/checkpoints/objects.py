"""The Python objects that a checkpoint may hold.

torch's reader of weights makes only objects of a list, but some of torch's own list, and those of
numpy that checkpoints of mmengine need, trust the sizes and states that a file gives them: they
read memory beyond its data, or hand out memory as it was left. Here the list is shorter, and each
entry checks what it gets.
"""

import re
from collections import Counter, OrderedDict
from functools import partial
from math import prod
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, _weights_only_unpickler, nn
from torch.serialization import StorageType

from .content import RefusedError, check_instructions


class _Kind:
    """Stands for ``numpy.dtype``: that of numbers or text, of the size that its name says."""

    def __init__(self, name: str, *_: Any) -> None:
        if not re.fullmatch(r'b1|[iufcUS][1-9]\d*', name):
            raise RefusedError(f'it holds data of numpy of dtype {name[:20]!r}')
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        if state[5] not in (-1, self.dtype.itemsize):
            raise RefusedError('it holds data of numpy of another size than their dtype says')
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array with as many bytes as its shape needs; it is pickled as numpy's own."""

    def __new__(cls, *_: Any) -> '_Array':
        return super().__new__(cls, 0, np.uint8)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, by_columns, content = state
        if min(shape, default=0) < 0 or len(content) != prod(shape) * kind.dtype.itemsize:
            raise RefusedError('it holds an array whose shape does not fit its data')
        super().__setstate__((1, shape, kind.dtype, bool(by_columns), bytes(content)))

    def __reduce_ex__(self, protocol: int) -> tuple:
        return np.asarray(self).__reduce_ex__(protocol)


class _History(HistoryBuffer):
    """Becomes a ``HistoryBuffer`` with two rows of numbers and the statistics of this process."""

    def __setstate__(self, state: dict) -> None:
        rows = state['_log_history'], state['_count_history']
        if not all(isinstance(row, _Array) and row.ndim == 1 for row in rows):
            raise RefusedError('it holds a history of logs that is no row of numbers')
        self.__class__ = HistoryBuffer
        self.__init__(*rows, max_length=int(state['max_length']))


def _scalar(kind: _Kind, content: bytes) -> np.generic:
    if len(content) != kind.dtype.itemsize:
        raise RefusedError('it holds a number whose size does not fit its data')
    return np.frombuffer(content, kind.dtype)[0]


def _statistic(owner: Any, name: str) -> None:
    """What ``getattr`` does for a pickled ``HistoryBuffer``, which names its own statistics."""
    if owner is not _History or name not in ('min', 'max', 'mean', 'current'):
        raise RefusedError("it holds the Python object 'getattr', which could run foreign code")


def _bytes(text: str = '', encoding: str = 'latin1') -> bytes:
    if encoding != 'latin1':
        raise RefusedError('it holds bytes in an encoding other than latin1')
    return text.encode('latin1')


def _tensor(
    clear: bool, storage: Any, offset: int, size: tuple, stride: tuple, *rest: Any
) -> Tensor:
    """A tensor within its storage, which torch would enlarge by memory as it was left.

    ``clear`` sets the storage to 0. ``rest`` is whether it requires a gradient, hooks, and then a
    dtype other than that of the storage, or marks of conjugation, or both.
    """
    if any(isinstance(each, dict) and each for each in rest[2:]):
        raise RefusedError('it holds an object that is no plain tensor')
    dtype = next((each for each in rest if isinstance(each, torch.dtype)), storage.dtype)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    end = 0 if 0 in size else (last + 1) * dtype.itemsize
    if min(offset, *size, *stride, 0) < 0 or end > storage._untyped_storage.nbytes():
        raise RefusedError('it holds a tensor that reaches beyond its data')
    if clear:
        storage._untyped_storage.fill_(0)
    tensor = torch.empty(0, dtype=dtype, device=storage._untyped_storage.device)
    tensor.set_(storage._untyped_storage, offset, size, stride)
    return tensor.requires_grad_(bool(rest and rest[0]))


def _parameter(data: Tensor, requires_grad: bool, *_: Any) -> nn.Parameter:
    return nn.Parameter(data, bool(requires_grad))


def _without_attributes(make: Any, kind: Any, arguments: tuple, *_: Any) -> Tensor:
    return make(*arguments)


def own_objects() -> dict[str, Any]:
    """What stands for the objects of numpy and mmengine, by their full names in a pickle."""
    found = {
        'builtins.getattr': _statistic,
        'builtins.slice': slice,
        'mmengine.logging.history_buffer.HistoryBuffer': _History,
        'numpy.dtype': _Kind,
        'numpy.ndarray': 'numpy.ndarray',  # named where an array is made, and never called
    }
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # before and since numpy 2
        found |= {f'{module}.scalar': _scalar, f'{module}._reconstruct': _Array}
    return found


def allowed_objects(*, old_form: bool) -> dict[str, Any]:
    """All that a checkpoint may hold, by full names; of torch's own list what weights need.

    In the old form of files the numbers of a tensor come after it, and may be missing.
    """
    listed = _weights_only_unpickler._get_allowed_globals().items()
    tensor = partial(_tensor, old_form)
    return {
        **{name: value for name, value in listed if isinstance(value, torch.dtype | StorageType)},
        **own_objects(),
        **dict.fromkeys(('_codecs.encode', 'builtins.bytes'), _bytes),
        'builtins.complex': complex,
        'builtins.set': set,
        'collections.Counter': Counter,
        'collections.OrderedDict': OrderedDict,
        'torch.Size': torch.Size,
        'torch.Tensor': 'torch.Tensor',  # likewise, of a tensor with attributes
        'torch._tensor._rebuild_from_type_v2': _without_attributes,
        **{f'torch._utils._rebuild_tensor{version}': tensor for version in ('', '_v2', '_v3')},
        'torch._utils._rebuild_parameter': _parameter,
        'torch._utils._rebuild_parameter_with_state': _parameter,
        'torch.device': torch.device,
        'torch.nn.parameter.Parameter': nn.Parameter,
        'torch.storage.UntypedStorage': StorageType('ByteStorage'),  # one that cannot be called
    }


class CheckedUnpickler(_weights_only_unpickler.Unpickler):
    """torch's reader of weights, which looks through the instructions of a pickle beforehand."""

    def __init__(self, file: IO, **options: Any) -> None:
        begin = file.tell()
        check_instructions(file)
        file.seek(begin)
        super().__init__(file, **options)
