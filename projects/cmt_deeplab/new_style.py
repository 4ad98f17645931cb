"""Our configs for mmengine's new style, in which bases are imported and types are classes.

mmengine's two styles do not mix: a config that inherits by ``read_base`` cannot name one of
``configs/`` in ``_base_``. The files of ``cmt_deeplab/configs`` are bases for it. They hold no
number of their own, but what a text config has, with classes in place of the names of types.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mmdet.registry
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyObject
from mmengine.registry import Registry

from cmt_deeplab.errors import require_file
from cmt_deeplab.renamed import read_config

PACKAGE = Path(__file__).resolve().parent


def text_config(name: str) -> Config:
    """The config of a file below ``configs/``, of a clone or of the installed package.

    Raises:
        MissingFileError: there is no such file.
    """
    folders = (PACKAGE / '.mim' / 'configs', PACKAGE.parents[1] / 'configs')
    path = next((str(f / name) for f in folders if (f / name).is_file()), '')
    require_file(path, f'The config {name} is not below the folder configs/ of this project.')
    return read_config(path)


def new_style(name: str) -> ConfigDict:
    """The entries of a text config, by its path below ``configs/``, with classes as types.

    A class is a ``LazyObject``, as what a new-style config imports is. A name that means different
    classes in two registries stays, and so does that of an initialization, which mmengine compares
    with strings.
    """
    return _with_classes(text_config(name)._cfg_dict)


def _with_classes(value: object) -> object:
    if isinstance(value, dict):
        entries = {key: _with_classes(entry) for key, entry in value.items() if key != 'init_cfg'}
        if isinstance(value.get('type'), str):
            entries['type'] = _class_of(value['type'])
        if 'init_cfg' in value:
            entries['init_cfg'] = value['init_cfg']
        return ConfigDict(entries)
    if isinstance(value, list | tuple):
        return type(value)(map(_with_classes, value))
    return value


@cache  # a registry that lacks a name tries to import where it could be
def _class_of(name: str) -> LazyObject | str:
    found = {entry for entry in _registered(name) if isinstance(entry, type)}
    if len(found) != 1:
        return name
    (only,) = found
    return LazyObject(only.__module__, only.__qualname__)


def _registered(name: str) -> Iterator[object]:
    for registry in vars(mmdet.registry).values():
        if isinstance(registry, Registry) and (entry := registry.get(name)) is not None:
            yield entry
