"""Our configs for mmengine's new style, in which bases are imported and types are classes.

mmengine's two styles do not mix: a config that inherits by ``read_base`` cannot name one of
``configs/`` in ``_base_``. The files of ``cmt_deeplab/configs`` are bases for it. They hold no
number of their own, but what a text config has, with classes in place of the names of types.
"""

from mmengine.config import ConfigDict
from mmengine.config.lazy import LazyObject

from cmt_deeplab.config_loading import read_config
from cmt_deeplab.value_kinds import class_of


def new_style(name: str) -> ConfigDict:
    """The entries of a text config, by its name, with classes as types.

    A class is a ``LazyObject``, as what a new-style config imports is. A name that means different
    classes in two registries stays, and so does that of an initialization, which mmengine compares
    with strings.
    """
    return _with_classes(read_config(name)._cfg_dict)


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


def _class_of(name: str) -> LazyObject | str:
    only = class_of(name)
    return LazyObject(only.__module__, only.__qualname__) if isinstance(only, type) else name
