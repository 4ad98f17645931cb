"""Names of earlier versions.

Checkpoints that hold them still load; a config that holds them raises an error with the new name.
"""

from collections.abc import MutableMapping

from mmengine.config import Config

from cmt_deeplab.config_loading import why_not_loaded
from cmt_deeplab.construction import config_entries
from cmt_deeplab.errors import UserError, require_file

NEW_KEYS = {
    'num_centres': 'num_centers',
    'centre_channels': 'center_channels',
    'centre_hidden_channels': 'center_hidden_channels',
}

NEW_PARTS_OF_NAMES = {
    'centre': 'center',
    'memory_similarity_norm': 'center_similarity_norm',  # of MaXLayer
    'memory_update': 'center_update',
    'pixel_decoder.decoder.': 'pixel_decoder.necks.0.',  # of AllStridesPixelDecoder
}


def rename_weights(state_dict: MutableMapping, *hook_arguments: object) -> None:
    """Give the tensors of a checkpoint of version 0.1.0 their present names, in place.

    torch calls it before a module loads a state dict, with further arguments that it ignores.
    """
    for name in list(state_dict):
        new = name
        for old_part, new_part in NEW_PARTS_OF_NAMES.items():
            new = new.replace(old_part, new_part)
        if new != name:
            state_dict[new] = state_dict.pop(name)


def read_config(path: str) -> Config:
    """The config file.

    Raises:
        MissingFileError: there is no such file.
        UserError: it cannot be loaded, for example because it needs what version 0.1.0 had.
    """
    require_file(
        path, f'The config {path} does not exist; the configs of this project lie in configs/.'
    )
    try:
        config = Config.fromfile(path)
        list(config_entries(config))  # fails where an import of a new-style config does
        return config
    except Exception as error:
        sentence = why_not_loaded(path, error)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def refuse_old_keys(config: object, path: str) -> None:
    """Raise a :class:`UserError` where the config at ``path`` uses a key that has a new name."""
    for place, _ in config_entries(config, path):
        key = place.rpartition('.')[2]
        if key in NEW_KEYS:
            raise UserError(f'The config key {place} is called {NEW_KEYS[key]} now: rename it.')
