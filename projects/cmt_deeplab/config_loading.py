"""A config file is loaded, or one sentence says why it cannot be."""

import re
import traceback
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError

from cmt_deeplab.config_names import config_file
from cmt_deeplab.construction import config_entries, is_meant
from cmt_deeplab.errors import UserError, frames_of


def read_config(path: str) -> Config:
    """The config of a file, or one of this project by its name, see :func:`config_file`.

    Raises:
        MissingFileError: there is no such config.
        UserError: it cannot be loaded.
    """
    path = config_file(path)
    try:
        config = Config.fromfile(path)
        list(config_entries(config))  # fails where an import of a new-style config does
        return config
    except Exception as error:
        sentence = _why_not_loaded(path, error)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _why_not_loaded(path: str, error: Exception) -> str | None:
    """The sentence about an error of ``Config.fromfile``, or None where a module that the config
    imports is at fault, whose author needs the trace.
    """
    frames = frames_of(error)
    importing = any(frame.f_code.co_name == 'import_modules_from_strings' for frame in frames)
    text = ' '.join(str(error.args[0] if isinstance(error, KeyError) else error).split())
    if importing or isinstance(error, ImportError):
        return _of_imports(path, error)
    if 'import_modules_from_strings() argument' in text:
        return f"{path}: custom_imports must be a dict, such as dict(imports=['my_module'])."
    read = [frame.f_locals.get('filename') for frame in frames]
    read = [file for file in read if isinstance(file, str) and Path(file).suffix == '.py']
    if isinstance(error, FileNotFoundError) and read and not isinstance(error, UserError):
        base = Path(error.filename or read[-1])
        meant = is_meant(base.name, [file.name for file in base.parent.glob('*.py')])
        return (
            f'The config {path} cannot be loaded because its base {base} does not exist{meant}: '
            'correct _base_.'
        )
    path = read[-1] if read else path  # the config itself or one of its bases
    start = f'The config {path} cannot be loaded'
    duplicate = re.search(r'Duplicate keys: (.+)', text)
    if duplicate:
        return (
            f'{start}: two of its bases set {duplicate[1]}, and mmengine does not merge bases; let '
            'one of them inherit the other, or take a config of mmdet in by mmdet_config, as '
            'docs/data_and_training.md shows.'
        )
    if isinstance(error, ConfigParsingError):
        text = text.partition('. You got')[0]
    lines = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename in ('', path)
    ]
    if isinstance(error, UserError):  # of a function that the config calls, such as own_data
        return f'{start}{f" because of line {lines[-1]}" if lines else ""}: {text}'
    where = f' in line {lines[-1]}' if lines else ''
    return f'{start} ({type(error).__name__}{where}: {text.rstrip(".")}); correct it.'


def _of_imports(path: str, error: BaseException | None) -> str | None:
    """The sentence about a module that custom_imports names and Python does not find."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return (
                f"The config {path} imports the module '{error.name}', itself or through another "
                'one, which Python does not find: correct custom_imports, install the package, or '
                'put the folder that holds the module on PYTHONPATH.'
            )
        error = error.__cause__ or error.__context__
    return None
