"""Compare what follows ``--cfg-options`` with the config, before the two are merged."""

from mmengine.config import Config

from cmt_deeplab.construction import config_entries
from cmt_deeplab.errors import UserError
from cmt_deeplab.mmengine_building import READ
from cmt_deeplab.value_kinds import kind_of

# a number may become a list of numbers; a list may be changed by position, and one dict become many
ALSO_ALLOWED = {('dict', 'list'), ('number', 'list'), ('list', 'dict')}


def check_overrides(cfg: Config, options: dict) -> None:
    """Compare ``options``, values by dotted key, with the config.

    Raises:
        UserError: a key is a variable of the config files, whose value has been put in place
            already, so that changing the variable changes nothing; or a value is of another kind
            than that of the config, such as a word in place of a number.
    """
    entries = dict(config_entries(cfg))
    for key, value in options.items():
        first = key.partition('.')[0]
        if first in cfg and first not in READ:
            places = [
                path
                for path in entries
                if path.endswith(f'.{first}') and path.partition('.')[0] in READ
            ]
            raise UserError(
                f"--cfg-options {key} changes nothing, as '{first}' is a variable of the config "
                'files and its value stands elsewhere already; set '
                f'{", ".join(places) or "the keys that use it"}.'
            )
        old = entries.get(key)
        kinds = kind_of(old), kind_of(value)
        # None and words may be replaced by anything, and anything by None
        anything = old is None or value is None or isinstance(old, str)
        if not (anything or kinds[0] == kinds[1] or kinds in ALSO_ALLOWED):
            shown = str(old) if len(str(old)) <= 40 else f'{str(old)[:37]}...'
            raise UserError(
                f'--cfg-options {key}={value} gives a {kinds[1]} where the config has the '
                f'{kinds[0]} {shown}; give a {kinds[0]}.'
            )
