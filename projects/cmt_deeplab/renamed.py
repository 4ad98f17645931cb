"""Names of earlier versions: checkpoints that hold them still load, configs that hold them are told the new one."""

from collections.abc import Iterator, MutableMapping

from cmt_deeplab.errors import UserError

NEW_KEYS = {
    'num_centres': 'num_centers',
    'centre_channels': 'center_channels',
    'centre_hidden_channels': 'center_hidden_channels',
}


def rename_weights(state_dict: MutableMapping, *hook_arguments: object) -> None:
    """Give the tensors of a checkpoint of version 0.1.0 their present names, in place.

    torch calls it before a module loads a state dict, with further arguments that it ignores.
    """
    for name in [name for name in state_dict if 'centre' in name]:
        state_dict[name.replace('centre', 'center')] = state_dict.pop(name)


def refuse_old_keys(config: object, path: str) -> None:
    """Raise a :class:`UserError` where the config at ``path`` uses a key that has a new name."""
    for key, where in _keys(config, path):
        if key in NEW_KEYS:
            raise UserError(
                f'The config key {where}.{key} is called {NEW_KEYS[key]} now: rename it.'
            )


def _keys(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every key of nested dicts and lists, with the dotted path of the dict that holds it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, path
            yield from _keys(inner, f'{path}.{key}')
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _keys(inner, f'{path}.{number}')
