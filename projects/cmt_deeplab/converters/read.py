"""Checkpoints of other code bases as tensors by name, kernels in PyTorch's order of axes."""

import re
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from cmt_deeplab.errors import MissingPackageError, UserError, require_file
from cmt_deeplab.safe_loading import load_weights_only

VALUE_SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'  # of TensorFlow's object-based checkpoints
MOST_UNPACKED, PACKED = 64 << 20, 20  # bytes of an .npz beside so many times those of the file
BOOKKEEPING = ('optimizer', 'save_counter', 'global_step', '_CHECKPOINTABLE_OBJECT_GRAPH')


def read_pytorch(path: str) -> tuple[dict[str, Tensor], int]:
    """Tensors of a PyTorch checkpoint, or of its key 'model' or 'state_dict', and the number 0.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is not a checkpoint, or holds no tensors by name.
    """
    advice = 'give the .pth file that the source published.'
    require_file(path, f'The checkpoint {path} does not exist; {advice}')
    content = load_weights_only(path)
    for wrapper in ('model', 'state_dict'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    items = content.items() if isinstance(content, dict) else ()
    tensors = {str(name): value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f'The checkpoint {path} holds no tensors by name; {advice}')
    return tensors, 0


def read_deeplab2(path: str) -> tuple[dict[str, Tensor], int]:
    """Tensors of a TensorFlow checkpoint or of an .npz file of the same names.

    ``path`` is what TensorFlow calls the checkpoint's prefix, without .index. The names come
    without the suffix of object-based checkpoints. The second value is the number of optimizer
    slots and counters, which are left out.

    Raises:
        MissingFileError: there is no such file.
        MissingPackageError: the checkpoint is TensorFlow's own and TensorFlow is not installed.
        UserError: it is not a checkpoint.
    """
    arrays = _read_npz(path) if path.endswith('.npz') else _read_tensorflow(path)
    weights = {
        name.removesuffix(VALUE_SUFFIX): value
        for name, value in arrays.items()
        if not name.startswith(BOOKKEEPING)
        and '/.OPTIMIZER_SLOT/' not in name
        and value.dtype.kind == 'f'
    }
    tensors = {
        _present_name(name, weights): torch.from_numpy(
            pytorch_axes(name, value).astype(np.float32, copy=False)
        )
        for name, value in weights.items()
    }
    return tensors, len(arrays) - len(weights)


def _read_npz(path: str) -> dict[str, np.ndarray]:
    require_file(
        path,
        f'The checkpoint {path} does not exist; give the .npz file of the TensorFlow variables.',
    )
    try:
        with ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MOST_UNPACKED + PACKED * Path(path).stat().st_size:
            raise UserError(
                f'{path} unpacks to {unpacked >> 20} MiB, much more than weights of its size do: '
                'fetch it again from where it was published, or write it again with numpy.savez.'
            )
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        if not all(isinstance(value, np.ndarray) for value in arrays.values()):
            raise TypeError  # numpy hands out other members as bytes
        return arrays
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f'{path} is no .npz file of arrays ({type(error).__name__}); write it again with '
            'numpy.savez.'
        ) from error


def _read_tensorflow(path: str) -> dict[str, np.ndarray]:
    require_file(
        f'{path}.index',
        f'There is no TensorFlow checkpoint {path}: {path}.index does not exist; give the '
        'prefix, as in folder/ckpt-150000.',
    )
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingPackageError(
            'Reading a TensorFlow checkpoint needs TensorFlow: pip install "cmt-deeplab[convert]", '
            'or export the variables elsewhere by numpy.savez(file, **{name: array}) and give the '
            '.npz file.'
        ) from error
    reader = tf.train.load_checkpoint(path)
    types = reader.get_variable_to_dtype_map()
    numeric = [name for name, kind in types.items() if kind.is_floating or kind.is_integer]
    return {name: np.asarray(reader.get_tensor(name)) for name in numeric}


def _present_name(name: str, names: Iterable[str]) -> str:
    """The name that deeplab2 gives today: before 2022, the fuses before MaX-DeepLab's extra stages
    had no 'extra' in theirs.
    """
    fuse = re.match(r'(encoder/_decoder_stage\d+)_resized_fuse/', name)
    if fuse and not any(other.startswith(f'{fuse[1]}/') for other in names):
        return f'{fuse[1]}_extra{name[fuse.end(1) :]}'
    return name


def pytorch_axes(name: str, value: np.ndarray) -> np.ndarray:
    """The axes of a kernel in PyTorch's order: output, input, then spatial.

    TensorFlow has spatial axes, input, output; for a depthwise kernel spatial axes, channels, 1.
    """
    # Where the axes of output and input are.
    axes = dict(kernel=(-1, -2), qkv_kernel=(-1, -2), depthwise_kernel=(-2, -1))
    found = axes.get(name.rpartition('/')[2])
    return np.moveaxis(value, found, (0, 1)) if found else value
