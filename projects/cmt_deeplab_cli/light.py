"""Modules of ``cmt_deeplab`` that need neither torch nor mmdet, imported without the rest."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec


@contextmanager
def without_init(*packages: str) -> Iterator[None]:
    """Import modules of ``packages`` inside of this without running the ``__init__`` of these.

    That of ``cmt_deeplab`` imports torch and mmdet. It runs as usual when the package itself is
    imported afterwards, and then finds the modules that were imported here.
    """
    absent = [name for name in packages if name not in sys.modules]
    for name in absent:
        sys.modules[name] = module_from_spec(find_spec(name))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
