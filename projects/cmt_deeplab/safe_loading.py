"""Checkpoints of mmengine without foreign code: they are read as weights only, and no text is run.

mmengine writes Python objects beside the tensors (``HistoryBuffer``, numpy scalars), so they are
put on torch's list of allowed objects. mmengine 0.10.7 leaves the choice to torch, whose default
for addresses is to run what the file says; onedl-mmengine 0.10.12 allows ``getattr`` too, and after
an error reads the file again without protection. torch's own switch TORCH_FORCE_WEIGHTS_ONLY_LOAD
overrules both. It is set while mmengine loads a checkpoint and at no other time: a script that
imports this package may load its own pickles as before. mmengine's inferencers would run the config
text of a checkpoint as Python; they ask for a config here.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

import numpy as np
import torch

from cmt_deeplab.errors import MissingFileError, UserError, files_on_the_way
from cmt_deeplab.precision import not_finite

READERS = {Path(module.__file__) for module in (torch.serialization, torch.hub)}
# torch's switches that overrule the argument weights_only of torch.load
WEIGHTS_ONLY = {'TORCH_FORCE_WEIGHTS_ONLY_LOAD': '1', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '0'}


def _statistic_of_history(owner: Any, name: str) -> Callable:
    """What ``getattr`` does for a pickled ``HistoryBuffer``, and nothing more.

    Such a buffer names its own methods min, max, mean and current.
    """
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(owner, name)


# torch knows an allowed object by module and name; getattr is pickled under this one
_statistic_of_history.__module__ = 'builtins'
_statistic_of_history.__name__ = _statistic_of_history.__qualname__ = 'getattr'


def checkpoint_globals() -> list:
    """The Python objects that mmengine's checkpoints hold beside tensors.

    They are the log history, slices, and numpy's arrays and scalars of all numbers and texts.
    """
    from mmengine.logging.history_buffer import HistoryBuffer

    multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    functions = multiarray._reconstruct, multiarray.scalar, _statistic_of_history
    dtypes = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdSU'}
    return [HistoryBuffer, slice, np.ndarray, np.dtype, *functions, *dtypes]


@contextmanager
def _one_sentence(file: Any) -> Iterator[None]:
    """Turn what torch says of a checkpoint that it cannot fetch or read into a sentence."""
    try:
        yield
    except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, 'reason', None) or str(error) or type(error).__name__
        raise MissingFileError(
            f'The checkpoint {file} cannot be fetched ({reason}); fetch it on a machine with a '
            'connection and give its path.'
        ) from error
    except FileNotFoundError as error:
        raise MissingFileError(
            f'The checkpoint {file} does not exist; give the path of a .pth file that training '
            'wrote.'
        ) from error
    except Exception as error:
        if 'CUDA device' in str(error):  # asks for a map_location
            raise
        foreign = re.search(r'(?:GLOBAL|class) (getattr\(.*\)|[^ ]+)', str(error))
        if isinstance(error, UnpicklingError) and foreign:
            raise UserError(
                f'The checkpoint {file} is not read because it holds the Python object '
                f"'{foreign[1]}' and reading it could run foreign code; save its state_dict alone "
                'with torch.save.'
            ) from error
        if READERS.intersection(files_on_the_way(error)):
            raise UserError(
                f'The checkpoint {file} is damaged or is no checkpoint; copy or save it again.'
            ) from error
        raise MissingFileError(
            f'The checkpoint {file} cannot be read ({type(error).__name__}: {error}); give the '
            'path of a .pth file on this machine.'
        ) from error


def load_weights_only(file: Any) -> Any:
    """``torch.load`` to the CPU, as weights only.

    Raises:
        UserError: the file holds Python objects that are not allowed, or is not a checkpoint.
    """
    with _one_sentence(file):
        return torch.load(file, map_location='cpu', weights_only=True)


def keep_weights_only() -> None:
    """Make mmengine's ``CheckpointLoader``, through which all its loading goes, read weights only.

    That holds for ``load_from``, ``resume``, ``init_cfg``, ``init_detector`` and the inferencers.
    Weights that are not finite are refused there.
    """
    from mmengine.runner import checkpoint

    torch.serialization.add_safe_globals(checkpoint_globals())
    if hasattr(checkpoint, '_safe_torch_load'):  # onedl-mmengine: no getattr and no second attempt
        checkpoint._safe_torch_load = torch.load
    load = checkpoint.CheckpointLoader.load_checkpoint
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def load_checkpoint(filename: str, *args: Any, **kwargs: Any) -> Any:
        before = {name: os.environ.get(name, '0') for name in WEIGHTS_ONLY}
        os.environ.update(WEIGHTS_ONLY)
        try:
            with _one_sentence(filename):
                content = load(filename, *args, **kwargs)
        finally:
            os.environ.update(before)
        weights = content.get('state_dict', content) if isinstance(content, dict) else {}
        name = not_finite(weights)
        if name is not None:
            raise UserError(
                f"The checkpoint {filename} has weights that are not finite ('{name}' has nan or "
                'inf): use another one, or train with a lower learning rate.'
            )
        return content

    checkpoint.CheckpointLoader.load_checkpoint = staticmethod(load_checkpoint)


def refuse_configs_in_checkpoints() -> None:
    """Make mmengine's inferencers, mmdet's ``DetInferencer`` among them, ask for a config.

    Without one they run the config text of the checkpoint as Python.
    """
    from mmengine.infer import BaseInferencer

    build = BaseInferencer._init_model
    if hasattr(build, '__wrapped__'):
        return

    @functools.wraps(build)
    def init_model(self: BaseInferencer, cfg: Any, weights: Any, *args: Any, **kwargs: Any) -> Any:
        if not cfg:
            raise UserError(
                f"The inferencer got weights='{weights}' and no model; give model='CONFIG.py' too, "
                'because running the config text that a checkpoint holds could run foreign code.'
            )
        return build(self, cfg, weights, *args, **kwargs)

    BaseInferencer._init_model = init_model
