"""Checkpoints of other code bases as tensors by name, kernels in PyTorch's order of axes."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmt_deeplab.compat import load_weights_only
from cmt_deeplab.errors import MissingFileError, MissingPackageError, UserError

VALUE_SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'  # of TensorFlow's object-based checkpoints
BOOKKEEPING = ('optimizer', 'save_counter', 'global_step', '_CHECKPOINTABLE_OBJECT_GRAPH')


def read_pytorch(path: str) -> tuple[dict[str, Tensor], int]:
    """Tensors of a PyTorch checkpoint, those under 'model' or 'state_dict' where it has such a key; the second value is 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint, or holds no tensors by name.
    """
    if not Path(path).is_file():
        raise MissingFileError(
            f'The checkpoint {path} does not exist; give the .pth file that the source published.'
        )
    content = load_weights_only(path, map_location='cpu')
    for wrapper in ('model', 'state_dict'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise UserError(
            f'The checkpoint {path} holds no tensors by name; give the .pth file that the source published.'
        )
    return tensors, 0


def read_deeplab2(path: str) -> tuple[dict[str, Tensor], int]:
    """Tensors of a TensorFlow checkpoint, or of an .npz file of the same names, and the number of entries that are no weights.

    ``path`` is what TensorFlow calls the checkpoint's prefix, without .index. Names come without the suffix of object-based checkpoints.
    Optimizer slots and counters are not weights.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the checkpoint is TensorFlow's own and TensorFlow is not installed.
        ValueError: it is not a checkpoint.
    """
    arrays = _read_npz(path) if path.endswith('.npz') else _read_tensorflow(path)
    weights = {
        name: value
        for name, value in arrays.items()
        if not name.startswith(BOOKKEEPING)
        and '/.OPTIMIZER_SLOT/' not in name
        and value.dtype.kind == 'f'
    }
    tensors, names = {}, [name.removesuffix(VALUE_SUFFIX) for name in weights]
    for name, value in zip(names, weights.values()):
        tensors[_present_name(name, names)] = torch.from_numpy(
            pytorch_axes(name, value).astype(np.float32, copy=False)
        )
    return tensors, len(arrays) - len(weights)


def _read_npz(path: str) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise MissingFileError(
            f'The checkpoint {path} does not exist; give the .npz file of the TensorFlow variables.'
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:
        raise UserError(
            f'{path} is no .npz file of arrays ({type(error).__name__}); write it again with numpy.savez.'
        ) from error


def _read_tensorflow(path: str) -> dict[str, np.ndarray]:
    if not Path(f'{path}.index').is_file():
        raise MissingFileError(
            f'There is no TensorFlow checkpoint {path}: {path}.index does not exist; give the prefix, as in '
            'folder/ckpt-150000.'
        )
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingPackageError(
            'Reading a TensorFlow checkpoint needs TensorFlow: pip install "cmt-deeplab[convert]", or export the variables '
            'elsewhere by numpy.savez(file, **{name: array}) and give the .npz file.'
        ) from error
    reader = tf.train.load_checkpoint(path)
    numeric = [
        name
        for name, dtype in reader.get_variable_to_dtype_map().items()
        if dtype.is_floating or dtype.is_integer
    ]
    return {name: np.asarray(reader.get_tensor(name)) for name in numeric}


def _present_name(name: str, names: Sequence[str]) -> str:
    """deeplab2's present name: before 2022 the fuses before MaX-DeepLab's extra stages had no 'extra' in theirs."""
    fuse = re.match(r'(encoder/_decoder_stage\d+)_resized_fuse/', name)
    if fuse and not any(other.startswith(f'{fuse[1]}/') for other in names):
        return f'{fuse[1]}_extra{name[fuse.end(1) :]}'
    return name


def pytorch_axes(name: str, value: np.ndarray) -> np.ndarray:
    """TensorFlow has spatial axes first, input, output; a depthwise kernel has spatial axes, channels, 1."""
    leaf = name.rsplit('/', 1)[-1]
    if leaf == 'depthwise_kernel':
        return value.transpose(2, 3, 0, 1)
    if leaf in ('kernel', 'qkv_kernel'):
        return value.transpose(value.ndim - 1, value.ndim - 2, *range(value.ndim - 2))
    return value
