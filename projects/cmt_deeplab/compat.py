"""What the installed stack lacks; ``apply`` is called once, by ``cmt_deeplab/__init__.py``.

* torch before 2.10 is refused: a hostile checkpoint can corrupt its memory even when it is read as
  weights only (CVE-2026-24747, GHSA-63cw-57p8-fm3p: versions up to 2.9.1).
* Absent compiled operators: mmdet imports ``mmcv.ops`` and with it ``mmcv._ext``. A stand-in lets
  the import succeed and raises an error on use.
* A config that holds a class, such as ``type=nn.GroupNorm``: mmengine before its fork cannot print
  it, so a run that logs its config fails; nor does it find the bases of ``read_base`` in a package
  that is installed with ``pip install -e``.
* Checkpoints are read as weights only: see ``safe_loading.py``.
* torchvision built for CUDA beside a CPU build of torch, which is what ``pip install timm`` gives
  there: its operators cannot load, and its import fails on their names. timm needs its transforms
  only.
* No torchvision at all: mmengine asks it for the addresses of ``torchvision://`` weights, which
  stand in a table of mmengine too.
* The fork of mmdet prints and warns of optional packages that nothing here uses.
* mmdet's own tools show every error as a stack trace, and most of its analysis tools know instances
  alone: here they end with a sentence that names the tool of this project.
"""

import contextlib
import importlib
import importlib.util
import io
import re
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from cmt_deeplab.config_names import project_folder
from cmt_deeplab.errors import MissingPackageError, UserError, user_sentence
from cmt_deeplab.safe_loading import keep_weights_only, refuse_configs_in_checkpoints


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
                '`pip install "cmt-deeplab[mminstall]"`, or in a clone '
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


def provide_torchvision_addresses() -> None:
    """Let ``torchvision://`` weights be found without torchvision, by mmengine's own table."""
    if importlib.util.find_spec('torchvision') is None:
        import mmengine
        from mmengine.runner import checkpoint

        table = Path(mmengine.__file__).parent / 'hub' / 'torchvision_0.12.json'
        checkpoint.get_torchvision_models = lambda: mmengine.load(table)


def import_mmdet_quietly() -> None:
    """Import the parts of mmdet that tell of optional packages, without these notes."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings('ignore', 'faster_coco_eval is not installed')
        importlib.import_module('mmdet.evaluation')


def complete_configs() -> None:
    """Give the configs of mmengine what its fork has: classes as text, editable installs as bases.

    The text of a class is its full name, which registries know.
    """
    try:
        version('onedl-mmengine')
        return
    except PackageNotFoundError:
        from mmengine.config import config
    to_dict, installed_path = config.Config.to_dict, config.get_installed_path
    if to_dict.__module__ != __name__:
        config.Config.to_dict = lambda *args, **kwargs: _named(to_dict(*args, **kwargs))
        config.get_installed_path = lambda package: (
            str(Path(__file__).parent) if package == 'cmt_deeplab' else installed_path(package)
        )


def _named(value: Any) -> Any:
    """Nested dicts and lists with the name of each class in its place."""
    if isinstance(value, dict):
        return {key: _named(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_named(inner) for inner in value)
    return f'{value.__module__}.{value.__qualname__}' if isinstance(value, type) else value


def end_tools_of_mmdet_with_a_sentence() -> None:
    """Where a tool of mmdet runs, let it end with a sentence on a mistake of the user.

    So does an analysis tool that fails on panoptic data, where this project has one of that name.
    """
    program = Path(sys.argv[0]).resolve()
    if 'mmdet' not in program.as_posix() or '/tools/' not in program.as_posix():
        return
    ours = project_folder() / 'tools' / 'analysis_tools' / program.name

    def end(kind: type, error: BaseException, trace: Any) -> None:
        sentence = user_sentence(error)
        if ours.is_file() and not isinstance(error, UserError | OSError):
            sentence = f"mmdet's {program.name} does not know panoptic data: use {ours}."
        if sentence is None:
            sys.__excepthook__(kind, error, trace)
        else:
            print(f'Error: {sentence}', file=sys.stderr)

    sys.excepthook = end


def apply() -> None:
    """Apply every workaround; calling it again changes nothing."""
    refuse_old_torch()
    provide_compiled_ops()
    provide_torchvision_names()
    provide_torchvision_addresses()
    import_mmdet_quietly()
    complete_configs()
    keep_weights_only()
    refuse_configs_in_checkpoints()
    end_tools_of_mmdet_with_a_sentence()
