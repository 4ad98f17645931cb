"""Checkpoints of mmengine without foreign code: they are read as weights only, and no text is run.

mmengine 0.10.7 leaves the choice to torch, whose default for addresses is to run what the file
says; onedl-mmengine 0.10.12, after an error, reads the file again without protection. Both run the
config text of a checkpoint as Python, when they resume and in inferencers without a config. So all
loading of mmengine goes through here: the objects of ``checkpoints/objects.py`` alone are made,
weights of ``checkpoints/published.py`` are read too, and the config text is dropped. A script that
imports this package may load its own pickles with ``torch.load`` as before.
"""

import functools
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from threading import RLock
from typing import IO, Any
from unittest.mock import patch
from urllib.error import URLError

import torch

from cmt_deeplab.checkpoints.content import RefusedError, check_content
from cmt_deeplab.checkpoints.entries import REMEDY, check_entries, drop_config_texts
from cmt_deeplab.checkpoints.objects import CheckedUnpickler, allowed_objects, own_objects
from cmt_deeplab.checkpoints.published import read_weights
from cmt_deeplab.errors import MissingFileError, UserError, files_on_the_way, frames_of

MODULES = (torch.serialization, torch.hub, zipfile, pickletools)
READERS = {Path(module.__file__) for module in MODULES}
OLD_FORM = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2)  # before torch 1.6 a file begins so
LOCK = RLock()  # functions of torch are replaced while a checkpoint is read


@contextmanager
def _one_sentence(file: Any) -> Iterator[None]:
    """Turn what torch says of a checkpoint that it cannot fetch or read into a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if 'CUDA device' in str(error):  # asks for a map_location
            raise
        kind, what = _reason(error, file)
        raise kind(f'The checkpoint {file} {what}.') from error


def _reason(error: Exception, file: Any) -> tuple[type[UserError], str]:
    """The kind of error, and what is wrong with the checkpoint."""
    text = str(error)
    if isinstance(error, RefusedError):
        return UserError, f'is not read because {text}; {REMEDY}'
    if isinstance(error, URLError | HTTPException | ConnectionError | TimeoutError):
        reason = getattr(error, 'reason', None) or text or type(error).__name__
        return MissingFileError, (
            f'cannot be fetched ({reason}); {_download(error, file)}give its path'
        )
    if isinstance(error, FileNotFoundError):
        return MissingFileError, 'does not exist; give the path of a .pth or .safetensors file'
    if isinstance(error, MemoryError) or re.search("can't allocate|out of mem", text):
        return UserError, 'needs more memory than there is; free some, or use another checkpoint'
    foreign = re.search(r'(?:GLOBAL|class) ([^ ]+)', text)
    if isinstance(error, UnpicklingError) and foreign:
        return UserError, (
            f'is not read because it holds the Python object {foreign[1]!r} and reading it could '
            f'run foreign code; {REMEDY}'
        )
    if isinstance(error, zipfile.BadZipFile) or READERS.intersection(files_on_the_way(error)):
        return UserError, 'is damaged or is no checkpoint; copy or save it again'
    return MissingFileError, (
        f'cannot be read ({type(error).__name__}: {text}); give the path of a .pth file on this '
        'machine'
    )


def _download(error: Exception, file: Any) -> str:
    """What to fetch elsewhere, and where torch looks for it here."""
    for frame in frames_of(error):
        if frame.f_code.co_name == 'load_state_dict_from_url' and 'cached_file' in frame.f_locals:
            known = frame.f_locals
            what = 'it' if known['url'] == str(file) else known['url']
            return (
                f'fetch {what} on a machine with a connection, and copy it to '
                f'{known["cached_file"]}, or '
            )
    return 'fetch it on a machine with a connection and '


@contextmanager
def _plain_objects_only() -> Iterator[None]:
    """Let ``torch.load`` read weights only, whatever it is asked for, and check what it reads."""

    def load(file: Any, map_location: Any = None, **_: Any) -> Any:
        with nullcontext(file) if hasattr(file, 'read') else open(file, 'rb') as opened:
            begin, size = opened.tell(), opened.seek(0, os.SEEK_END)
            opened.seek(begin)
            head = opened.read(len(OLD_FORM))
            if head.startswith(b'PK\3\4'):
                _check_archive(opened, size)
            elif head.startswith(b'\x80') and head != OLD_FORM:
                raise RefusedError('it is a plain pickle and reading it could run foreign code')
            opened.seek(begin)
            objects = allowed_objects(old_form=head == OLD_FORM)
            checked = dict(Unpickler=CheckedUnpickler, _get_allowed_globals=lambda: objects)
            with patch.multiple(torch._weights_only_unpickler, **checked):
                content = original(opened, map_location=map_location, weights_only=True)
        check_content(content, file_size=size)
        return content

    with LOCK:
        original = torch.load
        with patch.object(torch, 'load', load):
            yield


def _check_archive(file: IO, size: int) -> None:
    """Refuse an archive that unpacks to more than it is, or whose checksums, which torch does not
    compare, are not those of its records.
    """
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > size:
            raise RefusedError(
                f'its {size:,} bytes unpack to {unpacked:,}, and torch.save does not compress'
            )
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(damaged)


def load_weights_only(file: Any) -> Any:
    """``torch.load`` to the CPU, as weights only.

    Raises:
        UserError: the file holds Python objects that are not allowed, or is not a checkpoint.
    """
    with _one_sentence(file):
        if str(file).endswith('.safetensors'):
            return read_weights(str(file))
        with _plain_objects_only():
            return torch.load(file, map_location='cpu')


def keep_weights_only() -> None:
    """Make mmengine's ``CheckpointLoader``, through which all its loading goes, read weights only.

    That holds for ``load_from``, ``resume``, ``init_cfg``, ``init_detector`` and the inferencers.
    Weights that are not finite, and entries of an unusable kind, are refused there; the texts of
    configs are dropped.
    """
    from mmengine.runner import checkpoint

    torch.serialization.add_safe_globals([(value, name) for name, value in own_objects().items()])
    if hasattr(checkpoint, '_safe_torch_load'):  # onedl-mmengine: no getattr and no second attempt
        checkpoint._safe_torch_load = lambda *args, **kwargs: torch.load(*args, **kwargs)
    load = checkpoint.CheckpointLoader.load_checkpoint
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def load_checkpoint(filename: str, *args: Any, **kwargs: Any) -> Any:
        with _one_sentence(filename), _plain_objects_only():
            published = str(filename).endswith('.safetensors')
            content = (read_weights if published else load)(filename, *args, **kwargs)
            if isinstance(content, dict):
                check_entries(filename, content)
                drop_config_texts(content)
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
