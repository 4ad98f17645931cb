"""What the fields of a COCO panoptic JSON have to hold, and which entries do not.

This module imports neither torch nor mmdet.
"""

import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cmt_deeplab.coco_format import NUM_IDS

HINT = 'give a COCO panoptic JSON (panoptic_*.json, not one for boxes or instances)'
shown = reprlib.Repr()  # of values in messages
shown.maxstring, shown.maxlevel, shown.maxdict = 60, 2, 6
short = shown.repr


@dataclass(frozen=True)
class Field:
    """What a field has to hold, in words and as a function of its value."""

    form: str
    fits: Callable[[object], bool]
    needed: bool = True


def is_color(value: object) -> bool:
    """Whether this is a color as in COCO's categories: R, G, B from 0 to 255."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in value)
    )


def whole(least: int, most: int, note: str = '') -> Field:
    form = f'a whole number from {least} to {most}{note}'
    return Field(form, lambda value: type(value) is int and least <= value <= most)


MOST = (1 << 31) - 1  # of the ids of categories, which become numbers of numpy
TEXT = Field('a text', lambda value: type(value) is str and value.strip() != '')
IMAGE_ID = Field('a whole number or a text', lambda value: type(value) is int or TEXT.fits(value))
SIDE = Field('a positive whole number of pixels', lambda value: type(value) is int and value > 0)
NUMBER = Field('a number', lambda v: type(v) in (int, float) and -1e38 < v < 1e38)  # a float32
FLAG = Field('0, 1, true or false', lambda value: type(value) in (int, bool) and value in (0, 1))
FIELDS = dict(
    images=dict(id=IMAGE_ID, file_name=TEXT, height=SIDE, width=SIDE),
    categories=dict(
        id=whole(0, MOST),
        name=TEXT,
        isthing=FLAG,
        color=Field('R, G, B as three whole numbers from 0 to 255', is_color, needed=False),
    ),
    annotations=dict(
        image_id=IMAGE_ID,
        file_name=TEXT,
        segments_info=Field('a list', lambda value: type(value) is list),
    ),
    segments_info=dict(
        id=whole(1, NUM_IDS - 1, ', the color R + 256 G + 65536 B in the PNG'),
        category_id=whole(-MOST, MOST),
        iscrowd=replace(FLAG, needed=False),
        area=replace(NUMBER, needed=False),  # whether it is right, the pixels tell
        score=Field('a number from 0 to 1', lambda v: NUMBER.fits(v) and 0 <= v <= 1, needed=False),
    ),
)
# The fields in which no two entries of a list may agree.
UNIQUE = dict(
    images=('id',), categories=('id', 'name'), annotations=('image_id',), segments_info=('id',)
)
# panopticapi compares the flags with 1, takes black pixels for a segment where id 0 is listed, and
# reads neither images nor names.
ANYTHING = Field('anything', lambda value: True, needed=False)
PANOPTICAPI_FIELDS = dict(
    categories=dict(id=FIELDS['categories']['id'], isthing=replace(ANYTHING, needed=True)),
    annotations=FIELDS['annotations'],
    segments_info=dict(
        FIELDS['segments_info'], id=whole(0, NUM_IDS - 1), iscrowd=ANYTHING, score=ANYTHING
    ),
)


class Problem(NamedTuple):
    """What is wrong with an entry of a panoptic JSON."""

    part: str  # the list: 'images', 'categories', 'annotations' or 'segments_info'
    field: str  # '' where the entry is no dict
    twice: bool  # whether another entry has the same value in this field
    sentence: str


def entry_problems(
    entries: list, part: str, fields: Mapping[str, Field], unique: Sequence[str], place: str
) -> Iterator[Problem]:
    """The entries of a list that are not as they have to be.

    They leave the list when the iteration has come to its end, so that it is sound then.
    """
    sound = []
    for entry in entries:
        field, sentence = _unfit(entry, fields, place)
        if sentence:
            yield Problem(part, field, False, sentence)
        else:
            sound.append(entry)
    for key in unique:
        values = [entry[key] for entry in sound if key in entry]
        if len({*values}) == len(values):
            continue
        first = {entry.get(key): entry for entry in reversed(sound)}
        for entry in sound:
            if key in entry and first[entry[key]] is not entry:
                remedy = f'give each its own "{key}", or take one out'
                sentence = f'{place} has two entries with the "{key}" {entry[key]}: {remedy}.'
                yield Problem(part, key, True, sentence)
        sound = [entry for entry in sound if first[entry.get(key)] is entry or key not in entry]
    if len(sound) < len(entries):
        entries[:] = sound


def _unfit(entry: object, fields: Mapping[str, Field], place: str) -> tuple[str, str]:
    """The first field of an entry that is not as it has to be and a sentence, or two ''."""
    if type(entry) is not dict:
        return '', f'{place} has the entry {short(entry)}, not a dict: {HINT}.'
    for name, field in fields.items():
        if name not in entry:
            if field.needed:
                problem = f'without "{name}" ({short(entry)}): add it, or {HINT}.'
                return name, f'{place} has an entry {problem}'
        elif not field.fits(entry[name]):
            key = next(iter(fields))
            which = f' with the "{key}" {short(entry.get(key))}' if name != key else ''
            return name, (
                f'{place} has an entry{which} whose "{name}" is {short(entry[name])} '
                f'({type(entry[name]).__name__}), but it has to be {field.form}: correct it.'
            )
    return '', ''
