"""What follows ``--cfg-options`` is compared with the config, and the two are merged."""

import re
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence

from mmengine.config import Config, DictAction

from cmt_deeplab.config_check import places_of_variable
from cmt_deeplab.construction import config_entries, is_meant, shortened
from cmt_deeplab.errors import UserError
from cmt_deeplab.mmengine_building import READ, entries_read
from cmt_deeplab.value_kinds import kind_of

# a number may become a list of numbers; a list may be changed by position, and one dict become many
ALSO_ALLOWED = {('dict', 'list'), ('number', 'list'), ('list', 'dict')}
WORD_FOR_NUMBER = 'train_dataloader.batch_size', 'auto'  # see estimate/batch.py


def read_overrides(texts: Sequence[str]) -> dict:
    """The values by dotted key that texts ``key=value`` give, as mmengine reads them."""
    parser = ArgumentParser()
    parser.add_argument('--options', nargs='*', action=DictAction)
    return parser.parse_args(['--options', *texts]).options


def merge_overrides(cfg: Config, options: Mapping | Sequence[str]) -> None:
    """Merge ``options`` into the config, after :func:`check_overrides`.

    They are values by dotted key, or texts ``key=value``.

    Raises:
        UserError: the options do not suit the config.
    """
    if not isinstance(options, Mapping):
        options = read_overrides(options)
    check_overrides(cfg, options)
    for key, value in options.items():
        try:
            cfg.merge_from_dict({key: value})
        except (AttributeError, KeyError, TypeError) as error:
            entries = dict(config_entries(cfg))
            above = [key[: dot.start()] for dot in re.finditer(r'\.', key)]
            place = [path for path in above if path in entries][-1]
            found = entries[place]
            has = f'a list of {len(found)} entries' if isinstance(found, list) else repr(found)
            raise UserError(
                f'--cfg-options {key} does not suit the config, in which {place} is {has}: correct '
                'the key, or write it in a config file.'
            ) from error


def check_overrides(cfg: Config, options: Mapping) -> None:
    """Compare ``options``, values by dotted key, with the config.

    Raises:
        UserError: a key is a variable of the config files, whose value has been put in place
            already, so that changing the variable changes nothing; nothing reads the key; or a
            value is of another kind than that of the config, such as a word in place of a number.
    """
    entries = dict(config_entries(cfg))
    for key, value in options.items():
        first = key.partition('.')[0]
        if first not in cfg and first not in READ:
            raise UserError(
                f'--cfg-options {key} changes nothing, as nothing reads '
                f'{first!r}{is_meant(first, {*cfg, *READ})}: correct the key.'
            )
        if first == 'custom_imports':
            raise UserError(
                f'--cfg-options {key} changes nothing, as modules are imported while the config '
                'file is read: set it in a config file.'
            )
        if first not in READ:
            places = places_of_variable(first, cfg[first], entries_read(cfg))
            raise UserError(
                f"--cfg-options {key} changes nothing, as '{first}' is a variable of the config "
                'files and its value stands elsewhere already; set '
                f'{", ".join(places) or "the keys that use it"}.'
            )
        old = entries.get(key)
        kinds = kind_of(old), kind_of(value)
        # None and words may be replaced by anything, and anything by None
        anything = old is None or value is None or isinstance(old, str)
        allowed = kinds[0] == kinds[1] or kinds in ALSO_ALLOWED or (key, value) == WORD_FOR_NUMBER
        if not (anything or allowed):
            raise UserError(
                f'--cfg-options {key}={value} gives a {kinds[1]} where the config has the '
                f'{kinds[0]} {shortened(old)}; give a {kinds[0]}.'
            )
