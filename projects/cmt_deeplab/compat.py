"""What the installed stack lacks. Every workaround of the project stands here; ``apply`` is called once, by ``cmt_deeplab/__init__.py``.

* Absent compiled operators: mmdet imports ``mmcv.ops`` and with it ``mmcv._ext``. A stand-in lets the import succeed and raises on use.
* Checkpoints: mmengine writes Python objects beside the tensors (``HistoryBuffer``, numpy scalars). They are put on torch's allow-list, so
  that every checkpoint is read with ``weights_only=True``. mmengine 0.10.7 leaves the choice to torch's default, which is False before
  torch 2.6 and for URLs; onedl-mmengine 0.10.12 allows ``getattr`` as well and reads with ``weights_only=False`` after an error. Neither
  stays in force.
* torchvision built for CUDA beside a CPU build of torch, which is what ``pip install timm`` gives there: its operators cannot load and its
  import fails on their names. timm needs its transforms only.
"""

import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable
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

from cmt_deeplab.errors import MissingFileError, MissingPackageError, UserError


class CompiledOpMissing(UserError, RuntimeError):
    """A compiled mmcv operator was called where mmcv was installed without them."""


def install_line() -> str:
    """The pip command that builds mmcv's operators against the installed torch, for whichever mmcv is installed."""
    flags = '--force-reinstall --no-deps --no-cache-dir --no-build-isolation'
    try:
        return f'pip install {flags} --no-binary onedl-mmcv onedl-mmcv=={version("onedl-mmcv")}'
    except PackageNotFoundError:
        return f'pip uninstall -y mmcv-lite && MMCV_WITH_OPS=1 pip install {flags} --no-binary mmcv mmcv==2.1.0'


class _AbsentOps(ModuleType):
    """Stand-in for ``mmcv._ext``: every attribute is a function that raises ``CompiledOpMissing``."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)

        def absent(*args: Any, **kwargs: Any) -> None:
            raise CompiledOpMissing(
                f"The compiled operator '{name}' of mmcv is needed here but mmcv is installed without operators; build "
                f'them with `{install_line()}` (about half an hour on two cores).'
            )

        absent.__name__ = name
        return absent


def provide_compiled_ops() -> None:
    """Puts the stand-in in place where ``mmcv._ext`` is absent, or was built for another torch and does not load."""
    try:
        importlib.import_module('mmcv._ext')
        return
    except ModuleNotFoundError as error:
        if error.name not in ('mmcv._ext', 'mmcv'):
            raise
        if error.name == 'mmcv':
            raise MissingPackageError(
                'mmcv is not installed; install the stack with `pip install -r requirements/mminstall.txt`.'
            ) from None
    except ImportError as error:
        warnings.warn(
            f'The compiled operators of mmcv do not load ({error}) and are left out; rebuild them with `{install_line()}`.'
        )
    stand_in = _AbsentOps('mmcv._ext')
    stand_in.__spec__ = ModuleSpec(
        'mmcv._ext', loader=None
    )  # mmcv.utils.check_ops_exist() reads the loader
    sys.modules['mmcv._ext'] = stand_in


def _statistic_of_history(owner: Any, name: str) -> Callable:
    """What ``getattr`` does for a pickled ``HistoryBuffer``, which names its own methods (min, max, mean, current), and nothing more."""
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(owner, name)


def checkpoint_globals() -> list:
    """The Python objects that mmengine's checkpoints hold beside tensors: log history, numpy arrays and scalars, slices.

    ``getattr``, as pickled, becomes a function that gives a ``HistoryBuffer`` its own statistics and refuses everything else.
    """
    from mmengine.logging.history_buffer import HistoryBuffer

    multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    names = (
        'bool',
        'int8',
        'int16',
        'int32',
        'int64',
        'uint8',
        'uint16',
        'uint32',
        'uint64',
        'float16',
        'float32',
        'float64',
        'S',
        'U',
    )
    dtypes = {type(np.dtype(name)) for name in names}
    return [
        HistoryBuffer,
        _statistic_of_history,
        slice,
        np.ndarray,
        np.dtype,
        multiarray._reconstruct,
        multiarray.scalar,
        *dtypes,
    ]


# torch knows an allowed object by module and name; pickle's protocol 2 writes getattr so
(
    _statistic_of_history.__module__,
    _statistic_of_history.__qualname__,
    _statistic_of_history.__name__,
) = 'builtins', 'getattr', 'getattr'


def _read(load: Callable[[], Any], file: Any) -> Any:
    try:
        return load()
    except (FileNotFoundError, PermissionError):  # say themselves what is wrong
        raise
    except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, 'reason', None) or str(error) or type(error).__name__
        raise MissingFileError(
            f'The checkpoint {file} cannot be fetched ({reason}); fetch it on a machine with a connection '
            'and give its path.'
        ) from error
    except Exception as error:
        if 'CUDA device' in str(error):  # a checkpoint of a GPU without map_location
            raise
        unsafe = (
            re.search(r'(?:GLOBAL|class) (getattr\(.*\)|[^ ]+)', str(error))
            if isinstance(error, UnpicklingError)
            else None
        )
        if unsafe is not None:
            raise UserError(
                f"The checkpoint {file} is not read because it holds the Python object '{unsafe[1]}' and reading it could run "
                'foreign code; save its state_dict alone with torch.save.'
            ) from error
        raise UserError(
            f'The checkpoint {file} is damaged or is no checkpoint; copy or save it again.'
        ) from error


def load_weights_only(
    file: Any, map_location: Any = None, weights_only: bool = True, **kwargs: Any
) -> Any:
    """``torch.load(weights_only=True)``, whatever the caller asks for.

    Raises:
        ValueError: the file holds Python objects that are not on the allow-list, or is not a checkpoint.
    """
    return _read(
        lambda: torch.load(file, map_location=map_location, weights_only=True, **kwargs), file
    )


class _SafeTorch(ModuleType):
    """The module ``torch`` with a ``load`` that keeps to weights; stands in for the name ``torch`` in mmengine's checkpoint modules."""

    def __init__(self) -> None:
        super().__init__('torch')
        self.load = load_weights_only

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def keep_weights_only() -> None:
    """Makes every path of mmengine's checkpoint loading read with ``weights_only=True`` and our allow-list."""
    from mmengine.runner import checkpoint

    torch.serialization.add_safe_globals(checkpoint_globals())
    checkpoint.torch = _SafeTorch()  # mmengine 0.10.7 calls torch.load itself
    if hasattr(checkpoint, '_safe_torch_load'):  # onedl-mmengine
        checkpoint._safe_torch_load = load_weights_only
        checkpoint.get_torch_safe_globals = checkpoint_globals
    load_url = checkpoint.load_url

    def load_url_weights_only(url: str, *args: Any, **kwargs: Any) -> Any:
        return _read(lambda: load_url(url, *args, **{**kwargs, 'weights_only': True}), url)

    if not getattr(load_url, 'weights_only', False):
        load_url_weights_only.weights_only = True
        checkpoint.load_url = load_url_weights_only


def provide_torchvision_names() -> None:
    """Defines the names of torchvision's operators where they cannot load, CUDA build beside CPU torch, so that timm can be imported."""
    spec = importlib.util.find_spec('torchvision')
    if (
        torch.version.cuda is not None
        or getattr(torch.version, 'hip', None) is not None
        or spec is None
        or 'torchvision' in sys.modules
    ):
        return
    folder = Path(spec.submodule_search_locations[0])
    if (
        re.search(
            r"^__version__ = '[^']*\+cu\d+'",
            (folder / 'version.py').read_text(encoding='utf-8'),
            re.MULTILINE,
        )
        is None
    ):
        return
    registrations = folder / '_meta_registrations.py'
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
    """Applies every workaround; calling it again changes nothing."""
    provide_compiled_ops()
    provide_torchvision_names()
    keep_weights_only()
