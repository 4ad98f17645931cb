"""Classes by name: a class is its name and whether it is a thing, wherever it stands in a list.

Data sets, metrics, checkpoints and the categories of annotation files are compared by these
functions alone. This module imports neither torch nor mmdet.
"""

import reprlib
import warnings
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

from cmt_deeplab.errors import UserError
from cmt_deeplab.panoptic_fields import NUMBER, is_color

Class = tuple[str, bool | None]  # name, whether it is a thing; None where that is not said


def default_color(k: int) -> tuple[int, int, int]:
    """The color of the class ``k``, where nothing else names one."""
    return 37 * (k + 2) % 256, 91 * (k + 1) % 256, 151 * (k + 3) % 256


def metainfo_of(categories: Sequence[dict]) -> dict:
    """Names, things first, each part in alphabetical order, and the file's colors.

    Two files of the same classes have the same labels so, whatever their order and ids.
    """
    ordered = sorted(categories, key=lambda c: (not c['isthing'], c['name']))
    return complete_metainfo(
        dict(
            thing_classes=[c['name'] for c in ordered if c['isthing']],
            stuff_classes=[c['name'] for c in ordered if not c['isthing']],
            palette=[c.get('color') or default_color(k) for k, c in enumerate(ordered)],
        )
    )


def complete_metainfo(metainfo: Mapping) -> dict:
    """Adds ``classes`` = ``thing_classes`` + ``stuff_classes``, and a palette if there is none.

    Names that differ in case or spaces alone are different classes; a warning points them out.

    Raises:
        UserError: one of the lists is missing or is no list of names, a name stands twice, or the
            classes or colors do not fit them.
    """
    names = []
    for key in ('thing_classes', 'stuff_classes'):
        if key not in metainfo:
            raise UserError(
                f'metainfo of the data set has no {key!r}: name thing_classes and stuff_classes, '
                'or leave metainfo out to take the categories of the annotation file.'
            )
        given = metainfo[key]
        if not isinstance(given, list | tuple) or not all(isinstance(n, str) for n in given):
            raise UserError(
                f'metainfo.{key} of the data set is {given!r}: give a list of names, such as '
                "['person', 'car']."
            )
        names.append(tuple(given))
    things, stuff = names
    classes = things + stuff
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise UserError(
            f'The class names {twice} of the data set stand twice: give every thing and stuff '
            'class a name of its own.'
        )
    plain = {}
    for name in classes:
        twin = plain.setdefault(_plain(name), name)
        if twin != name:
            warnings.warn(
                f'The classes {twin!r} and {name!r} of the data set differ in case or spaces alone '
                'and are two classes: if they are one, write them alike.',
                stacklevel=2,
            )
    if tuple(metainfo.get('classes', classes)) != classes:
        raise UserError(
            'metainfo.classes of the data set differs from thing_classes + stuff_classes: leave '
            'classes out.'
        )
    palette = metainfo.get('palette') or [default_color(k) for k in range(len(classes))]
    if len(palette) != len(classes) or not all(map(is_color, palette)):
        raise UserError(
            f'metainfo.palette of the data set is {reprlib.repr(palette)}: give one color (R, G, '
            f'B), with whole numbers from 0 to 255, to each of its {len(classes)} classes.'
        )
    palette = [tuple(color) for color in palette]
    return dict(
        metainfo, classes=classes, thing_classes=things, stuff_classes=stuff, palette=palette
    )


def class_list(metainfo: object) -> tuple[Class, ...]:
    """The class of each label, of the metainfo of a data set or a checkpoint; () if it has none.

    mmdet 2 wrote its keys in capitals; mmdet's ConcatDataset may have a list of metainfos.
    """
    first = metainfo[0] if isinstance(metainfo, list) and metainfo else metainfo
    meta = first if isinstance(first, Mapping) else {}
    meta = {str(key).lower(): value for key, value in meta.items()}
    things, stuff = meta.get('thing_classes'), meta.get('stuff_classes')
    names = meta.get('classes') or [*(things or ()), *(stuff or ())]
    return tuple((name, None if things is None else name in things) for name in names)


def classes_of_checkpoint(checkpoint: object) -> tuple[Class, ...]:
    """The classes that a checkpoint states, () where it states none."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    return class_list(meta.get('dataset_meta') or meta) if isinstance(meta, Mapping) else ()


def class_of(category: Mapping) -> Class:
    """The class of an entry of "categories" of an annotation file."""
    return category['name'], bool(category['isthing'])


def category_labels(categories: Sequence[dict], metainfo: Mapping) -> dict[int, int | None]:
    """The label of each category id, None where ``metainfo`` has no such thing or stuff class."""
    labels = {entry: label for label, entry in enumerate(class_list(metainfo))}
    return {c['id']: labels.get(class_of(c)) for c in categories}


def segments_of(
    annotation: dict,
    labels: dict[int, int | None],
    categories: Sequence[dict],
    metainfo: Mapping,
    path: str,
) -> list[dict]:
    """``segments_info`` of one image of the annotation file ``path``, with labels.

    ``label``, ``is_crowd`` and ``of_thing_class`` (whether the class is one of things, for crowds
    too) are ours. mmdet's own loading reads ``category``, which is the label again, and
    ``is_thing``, which a crowd is not.

    Raises:
        UserError: ``metainfo`` does not have the class of a segment.
    """
    segments = []
    for segment in annotation['segments_info']:
        label = labels[segment['category_id']]
        if label is None:
            entry = next(class_of(c) for c in categories if c['id'] == segment['category_id'])
            raise UserError(
                f'{path}: image {annotation["image_id"]} has a segment of {described(entry)}, '
                'which is not among the classes of the data set'
                f'{hint(entry, class_list(metainfo))}: name it in metainfo of the data set, '
                'rename the category in the JSON, or take out its segments.'
            )
        is_crowd, bbox = bool(segment.get('iscrowd', 0)), segment.get('bbox')
        is_box = isinstance(bbox, list) and len(bbox) == 4 and all(map(NUMBER.fits, bbox))
        of_thing_class = label < len(metainfo['thing_classes'])
        segments.append(
            dict(
                id=segment['id'],
                label=label,
                is_crowd=is_crowd,
                of_thing_class=of_thing_class,
                category=label,
                is_thing=of_thing_class and not is_crowd,
                bbox=bbox if is_box else None,
                area=segment.get('area'),
            )
        )
    return segments


def described(entry: Class) -> str:
    """A class in a sentence."""
    name, is_thing = entry
    return {True: 'the thing ', False: 'the stuff class ', None: ''}[is_thing] + repr(name)


def hint(entry: Class, known: Collection[Class]) -> str:
    """What is known of a class that is not among the known ones, in brackets, or nothing."""
    name, is_thing = entry
    kinds = {str(other): thing for other, thing in known}
    if name in kinds:
        return f' ({"a stuff class" if is_thing else "a thing"} there)'
    alike = [other for other in kinds if _plain(other) == _plain(name)]
    alike += get_close_matches(str(name), kinds, 1, 0.75)  # 'disc' for 'disk', not 'cat' for 'car'
    return f' (is {alike[0]!r} meant?)' if alike else ''


def first_difference(
    one: Sequence[Class], other: Sequence[Class], *, owners: tuple[str, str]
) -> str | None:
    """What the classes of two owners differ in, in words, or None where they are the same.

    A class that one of them lacks is named before those that stand in another order.
    """
    for here, there, (owner, lacking) in ((one, other, owners), (other, one, owners[::-1])):
        kinds = dict(there)
        for name, is_thing in here:
            if name not in kinds or {is_thing, kinds[name]} == {True, False}:
                entry, others = (name, is_thing), [known for known in there if known not in here]
                return f'{described(entry)} is in {owner} but not in {lacking}{hint(entry, others)}'
    for label, (a, b) in enumerate(zip(one, other)):
        if a[0] != b[0]:
            both = f'{described(a)} in {owners[0]} and {described(b)} in {owners[1]}'
            return f'label {label} is {both}'
    return None


def _plain(name: str) -> str:
    return ''.join(str(name).split()).casefold()
