"""What the installed stack lacks; ``apply`` is called once, by ``cmt_deeplab/__init__.py``.

* torch before 2.10 is refused: a hostile checkpoint can corrupt its memory even when it is read as
  weights only (CVE-2026-24747, GHSA-63cw-57p8-fm3p: versions up to 2.9.1).
* Absent compiled operators: mmdet imports ``mmcv.ops`` and with it ``mmcv._ext``. A stand-in lets
  the import succeed and raises an error on use.
* Checkpoints: every one that mmengine loads is read as weights only. mmengine writes Python objects
  beside the tensors (``HistoryBuffer``, numpy scalars), so they are put on torch's list of allowed
  objects. mmengine 0.10.7 leaves the choice to torch, whose default for addresses is to run what
  the file says; onedl-mmengine 0.10.12 allows ``getattr`` too, and after an error reads the file
  again without protection. torch's own switch TORCH_FORCE_WEIGHTS_ONLY_LOAD overrules both. It is
  set while mmengine loads a checkpoint and at no other time: a script that imports this package may
  load its own pickles as before. mmengine's inferencers would run the config text of a checkpoint
  as Python; they ask for a config here.
* torchvision built for CUDA beside a CPU build of torch, which is what ``pip install timm`` gives
  there: its operators cannot load, and its import fails on their names. timm needs its transforms
  only.
"""

import functools
import importlib
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import torch

from cmt_deeplab.errors import MissingFileError, MissingPackageError, UserError, files_on_the_way

READERS = {Path(module.__file__) for module in (torch.serialization, torch.hub)}
# torch's switches that overrule the argument weights_only of torch.load
WEIGHTS_ONLY = {'TORCH_FORCE_WEIGHTS_ONLY_LOAD': '1', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '0'}


class CompiledOpMissing(UserError, RuntimeError):
    """A compiled mmcv operator was called where mmcv was installed without them."""


def refuse_old_torch(found: str = torch.__version__) -> None:
    """Raise a :class:`UserError` where the version of torch is older than 2.10."""
    if tuple(int(part) for part in re.findall(r'\d+', found)[:2]) < (2, 10):
        raise UserError(
            f'torch {found} is installed, but this package needs torch 2.10 or newer, because a '
            'hostile checkpoint can corrupt the memory of an older one (CVE-2026-24747); '
            "pip install 'torch>=2.10'."
        )


def install_line() -> str:
    """The pip command that builds the operators of whichever mmcv is installed."""
    flags = '--force-reinstall --no-deps --no-cache-dir --no-build-isolation'
    try:
        found = version('onedl-mmcv')
    except PackageNotFoundError:
        return (
            f'pip uninstall -y mmcv-lite && MMCV_WITH_OPS=1 pip install {flags} --no-binary mmcv '
            'mmcv==2.1.0'
        )
    return f'pip install {flags} --no-binary onedl-mmcv onedl-mmcv=={found}'


class _AbsentOps(ModuleType):
    """Stand-in for ``mmcv._ext``: every attribute is a function that raises an error."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)

        def absent(*args: Any, **kwargs: Any) -> None:
            raise CompiledOpMissing(
                f"The compiled operator '{name}' of mmcv is needed here but mmcv is installed "
                f'without operators; build them with `{install_line()}` (about half an hour on two '
                'cores).'
            )

        absent.__name__ = name
        return absent


def provide_compiled_ops() -> None:
    """Put the stand-in in place where ``mmcv._ext`` is absent, or does not load.

    It does not load where it was built for another torch.
    """
    try:
        importlib.import_module('mmcv._ext')
        return
    except ModuleNotFoundError as error:
        if error.name == 'mmcv':
            raise MissingPackageError(
                'mmcv is not installed; install the stack with '
                '`pip install -r requirements/mminstall.txt`.'
            ) from None
        if error.name != 'mmcv._ext':
            raise
    except ImportError as error:
        warnings.warn(
            f'The compiled operators of mmcv do not load ({error}) and are left out; rebuild them '
            f'with `{install_line()}`.',
            stacklevel=2,
        )
    stand_in = _AbsentOps('mmcv._ext')
    stand_in.__spec__ = ModuleSpec('mmcv._ext', loader=None)  # mmcv.utils.check_ops_exist reads it
    sys.modules['mmcv._ext'] = stand_in


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
    except (FileNotFoundError, PermissionError):  # the error itself says enough
        raise
    except Exception as error:
        reading = READERS.intersection(files_on_the_way(error))
        if not reading or 'CUDA device' in str(error):  # the latter asks for a map_location
            raise
        foreign = re.search(r'(?:GLOBAL|class) (getattr\(.*\)|[^ ]+)', str(error))
        if isinstance(error, UnpicklingError) and foreign:
            raise UserError(
                f'The checkpoint {file} is not read because it holds the Python object '
                f"'{foreign[1]}' and reading it could run foreign code; save its state_dict alone "
                'with torch.save.'
            ) from error
        raise UserError(
            f'The checkpoint {file} is damaged or is no checkpoint; copy or save it again.'
        ) from error


def load_weights_only(file: Any, map_location: Any = 'cpu') -> Any:
    """``torch.load``, as weights only.

    Raises:
        UserError: the file holds Python objects that are not allowed, or is not a checkpoint.
    """
    with _one_sentence(file):
        return torch.load(file, map_location=map_location, weights_only=True)


def keep_weights_only() -> None:
    """Make mmengine's ``CheckpointLoader``, through which all its loading goes, read weights only.

    That holds for ``load_from``, ``resume``, ``init_cfg``, ``init_detector`` and the inferencers.
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
                return load(filename, *args, **kwargs)
        finally:
            os.environ.update(before)

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


def provide_torchvision_names() -> None:
    """Define the names of torchvision's operators where they cannot load, so that timm imports.

    They cannot where torchvision was built for CUDA and torch for the CPU.
    """
    spec = importlib.util.find_spec('torchvision')
    accelerated = torch.version.cuda or getattr(torch.version, 'hip', None)
    if accelerated or spec is None or 'torchvision' in sys.modules:
        return
    folder = Path(spec.submodule_search_locations[0])
    built_for = (folder / 'version.py').read_text(encoding='utf-8')
    registrations = folder / '_meta_registrations.py'
    if not re.search(r"^__version__ = '[^']*\+cu\d+'", built_for, re.MULTILINE):
        return
    source = registrations.read_text(encoding='utf-8') if registrations.is_file() else ''
    for name in re.findall(r'register_fake\("torchvision::(\w+)"\)', source):
        try:
            torch.library.define(
                f'torchvision::{name}',
                '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
            )
        except RuntimeError:  # defined already
            pass


def apply() -> None:
    """Apply every workaround; calling it again changes nothing."""
    refuse_old_torch()
    provide_compiled_ops()
    provide_torchvision_names()
    keep_weights_only()
    refuse_configs_in_checkpoints()
