"""What follows ``--cfg-options``, compared with the config before the two are merged."""

import inspect
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.runner import Runner

from cmt_deeplab.errors import UserError

READ_BESIDE = {
    'runner_type',
    'model_wrapper_cfg',
    'compile',
    'sync_bn',
    'find_unused_parameters',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'custom_imports',
}
READ = READ_BESIDE | set(inspect.signature(Runner.__init__).parameters)


def check_overrides(cfg: Config, options: dict) -> None:
    """Compares ``options``, values by dotted key, with the config.

    Raises:
        ValueError: a key is a variable of the config files, whose value has been put in place already, so that nothing would change; or a
            value is of another kind than the config's, as a word in place of a number.
    """
    for key, value in options.items():
        first = key.partition('.')[0]
        if first in cfg and first not in READ:
            places = [
                path
                for path, _ in _entries(cfg)
                if path.endswith(f'.{first}') and path.partition('.')[0] in READ
            ]
            raise UserError(
                f"--cfg-options {key} changes nothing, as '{first}' is a variable of the config files and its value stands "
                f'elsewhere already; set {", ".join(places) if places else "the keys that use it"}.'
            )
        old = dict(_entries(cfg)).get(key)
        if not _same_kind(old, value):
            raise UserError(
                f'--cfg-options {key}={value} gives a {_kind(value)} where the config has the {_kind(old)} {_short(old)}; '
                f'give a {_kind(old)}.'
            )


def _entries(value: object, path: str = '') -> Iterator[tuple[str, object]]:
    """Every entry of nested dicts and lists, by its dotted key."""
    if path:
        yield path, value
    items = (
        value.items()
        if hasattr(value, 'items')
        else enumerate(value)
        if isinstance(value, (list, tuple))
        else ()
    )
    for key, inner in items:
        yield from _entries(inner, f'{path}.{key}' if path else str(key))


def _kind(value: object) -> str:
    names = {
        bool: 'truth value',
        int: 'number',
        float: 'number',
        list: 'sequence',
        tuple: 'sequence',
        str: 'word',
    }
    return 'dict' if hasattr(value, 'items') else names.get(type(value), type(value).__name__)


def _same_kind(old: object, new: object) -> bool:
    """None and words may be replaced by anything, anything by None, and one dict by a list of them."""
    if old is None or new is None or isinstance(old, str):
        return True
    allowed = {
        'dict': ('dict', 'sequence'),
        'number': ('number', 'sequence'),
        'sequence': ('sequence', 'dict'),
    }  # dict: by position
    return _kind(new) in allowed.get(_kind(old), (_kind(old),))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f'{text[:37]}...'
