"""Names of earlier versions, with which their checkpoints still load."""

from collections.abc import MutableMapping

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
