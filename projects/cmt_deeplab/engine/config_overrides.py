"""What follows ``--cfg-options`` is compared with the config, and the two are merged."""

import re
from argparse import ArgumentError
from typing import Any

from mmengine.config import Config, DictAction

from cmt_deeplab.config_check import places_of_variable
from cmt_deeplab.construction import config_entries, is_meant, shortened
from cmt_deeplab.errors import UserError
from cmt_deeplab.mmengine_building import READ, entries_read
from cmt_deeplab.value_kinds import kind_of

# a number may become a list of numbers; a list may be changed by position, and one dict become many
ALSO_ALLOWED = {('dict', 'list'), ('number', 'list'), ('list', 'dict')}


class OverridesAction(DictAction):
    """mmengine's reader of ``key=value``, which says what it cannot read."""

    def __call__(self, parser: Any, namespace: Any, values: list[str], *args: Any) -> None:
        for entry in values:
            key, equals, text = entry.partition('=')
            wrong = None
            if not equals or '' in key.split('.'):
                wrong = 'is not of the form key=value, without blanks'
            elif 'dict(' in text or '{' in text:
                wrong = 'gives a dict: give its entries by keys with dots, or in a config file'
            elif any(text.count(one) != text.count(other) for one, other in ('()', '[]')):
                wrong = 'has a bracket that is not closed, or not opened'
            elif ' ' in text.strip() and not re.search(r'[,(\[]', text):
                wrong = 'has blanks, which mmengine leaves out: give it in a config file'
            if wrong:
                raise ArgumentError(self, f'{entry} {wrong}.')
        super().__call__(parser, namespace, values, *args)


def merge_overrides(cfg: Config, options: dict) -> None:
    """Merge ``options``, values by dotted key, into the config, after :func:`check_overrides`.

    Raises:
        UserError: the options do not suit the config.
    """
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


def check_overrides(cfg: Config, options: dict) -> None:
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
        if not (anything or kinds[0] == kinds[1] or kinds in ALSO_ALLOWED):
            raise UserError(
                f'--cfg-options {key}={value} gives a {kinds[1]} where the config has the '
                f'{kinds[0]} {shortened(old)}; give a {kinds[0]}.'
            )
