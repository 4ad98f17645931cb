"""Configs of this project by name, in a clone or in the installed package; torch is not imported.

The name of a config is that of its file without ``.py``; no two files below ``configs/`` share one.
"""

import re
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from cmt_deeplab.errors import MissingFileError, UserError, require_file

CHECKPOINTS = ('.pth', '.pt', '.safetensors')  # the endings of files that may carry their config
EXPORTED = '.onnx'
PACKAGE = Path(__file__).resolve().parent


def project_folder() -> Path:
    """The folder that holds ``configs/`` and ``tools/``: of the wheel, or else the clone."""
    carried = PACKAGE / '.mim'
    return carried if carried.is_dir() else PACKAGE.parents[1]


def named_configs() -> dict[str, Path]:
    """The files of the configs that can be trained, by name."""
    files = sorted((project_folder() / 'configs').glob('[!_]*/*.py'))
    return {path.stem: path for path in files}


def config_file(name: str) -> str:
    """The file of a config, given by its path or name.

    A path such as ``configs/cmt_deeplab/NAME.py`` is that of this project where the current folder
    has no such file. The config of another toolbox has the name ``mmdet::FOLDER/FILE.py``.

    Raises:
        MissingFileError: there is no such config; the sentence has the names that are much like it.
    """
    for path in (name, f'{name}.py'):
        if Path(path).is_file():
            return path
    toolbox, _, path = name.rpartition('::')
    if toolbox:
        spec = find_spec(toolbox) if toolbox.isidentifier() else None
        file = Path(spec.origin if spec and spec.origin else '').parent / '.mim/configs' / path
        if not file.is_file():
            raise MissingFileError(
                f'The config {name} is not to be found: give the name of an installed toolbox, two '
                'colons and the path below its folder configs.'
            )
        return str(file)
    known = named_configs()
    stem = name.removesuffix('.py')
    if stem in known:
        return str(known[stem])
    ours = project_folder() / name
    if not Path(name).is_absolute() and name.startswith('configs/') and ours.is_file():
        return str(ours)
    near = get_close_matches(Path(stem).name, known)
    meant = f' (is {" or ".join(near)} meant?)' if near else ''
    raise MissingFileError(
        f'The config {name} does not exist{meant}: give the path of a file, or a name that '
        '`cmt-deeplab configs` lists.'
    )


def config_and_checkpoint(argument: str) -> tuple[str, str | None]:
    """The config file and the checkpoint that ``CONFIG`` or ``CONFIG:CHECKPOINT`` names.

    Raises:
        MissingFileError: there is no such config or checkpoint.
        UserError: nothing follows the colon.
    """
    if argument.endswith(':'):
        raise UserError(f'{argument} names no checkpoint behind the colon: add it.')
    ends = [match.start() for match in re.finditer(r'(?<!:):(?!:|//)', argument)] + [len(argument)]
    end = next((end for end in ends if Path(argument[:end]).is_file()), ends[0])
    checkpoint = argument[end + 1 :]
    if checkpoint and '://' not in checkpoint:
        require_file(checkpoint, f'The checkpoint {checkpoint} of {argument[:end]} does not exist.')
    return config_file(argument[:end]), checkpoint or None
