"""Categories of a COCO panoptic annotation file and the contiguous labels of a data set."""

from collections.abc import Sequence

from cmt_deeplab.errors import UserError


def default_color(k: int) -> tuple[int, int, int]:
    """The color of the class ``k``, where nothing else names one."""
    return 37 * (k + 2) % 256, 91 * (k + 1) % 256, 151 * (k + 3) % 256


def metainfo_of(categories: Sequence[dict]) -> dict:
    """Names, things first, each part in the order of the file, and the file's colors."""
    things = [c for c in categories if c['isthing']]
    stuff = [c for c in categories if not c['isthing']]
    colors = [c.get('color') for c in things + stuff]
    return complete_metainfo(
        dict(
            thing_classes=[c['name'] for c in things],
            stuff_classes=[c['name'] for c in stuff],
            palette=colors if all(colors) else None,
        )
    )


def complete_metainfo(metainfo: dict) -> dict:
    """Adds ``classes`` = ``thing_classes`` + ``stuff_classes``, and a palette if there is none.

    Raises:
        UserError: one of the lists is missing or a name stands twice.
    """
    for key in ('thing_classes', 'stuff_classes'):
        if key not in metainfo:
            raise UserError(
                f'metainfo of the data set has no {key!r}: name thing_classes and stuff_classes, '
                'or leave metainfo out to take the categories of the annotation file.'
            )
    things, stuff = tuple(metainfo['thing_classes']), tuple(metainfo['stuff_classes'])
    classes = things + stuff
    if len(set(classes)) != len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        raise UserError(
            f'The class names {twice} of the data set stand twice: give every thing and stuff '
            'class a name of its own.'
        )
    if tuple(metainfo.get('classes', classes)) != classes:
        raise UserError(
            'metainfo.classes of the data set differs from thing_classes + stuff_classes: leave '
            'classes out.'
        )
    palette = metainfo.get('palette') or [default_color(k) for k in range(len(classes))]
    if len(palette) != len(classes):
        raise UserError(
            f'metainfo.palette of the data set has {len(palette)} colors for {len(classes)} '
            'classes: give one to each.'
        )
    palette = [tuple(color) for color in palette]
    return dict(
        metainfo, classes=classes, thing_classes=things, stuff_classes=stuff, palette=palette
    )


def category_labels(categories: Sequence[dict], metainfo: dict) -> dict[int, int | None]:
    """The label of each category id, None where the data set has no such thing or stuff class."""
    names = [(name, True) for name in metainfo['thing_classes']]
    names += [(name, False) for name in metainfo['stuff_classes']]
    labels = {name: label for label, name in enumerate(names)}
    return {c['id']: labels.get((c['name'], bool(c['isthing']))) for c in categories}


def segments_of(
    annotation: dict, labels: dict[int, int | None], num_things: int, path: str
) -> list[dict]:
    """``segments_info`` of one image of the annotation file ``path`` with labels.

    ``label``, ``is_crowd`` and ``of_thing_class`` (whether the class is one of things, for crowds
    too) are ours. mmdet's own loading reads ``category``, which is the label again, and
    ``is_thing``, which a crowd is not.

    Raises:
        UserError: the data set does not know a category.
    """
    segments = []
    for segment in annotation['segments_info']:
        label = labels[segment['category_id']]
        if label is None:
            raise UserError(
                f'{path}: image {annotation["image_id"]} uses the category '
                f'{segment["category_id"]}, which is unknown to the data set or thing in one and '
                'stuff in the other: correct metainfo of the data set.'
            )
        is_crowd, of_thing_class = bool(segment.get('iscrowd', 0)), label < num_things
        segments.append(
            dict(
                id=segment['id'],
                label=label,
                is_crowd=is_crowd,
                of_thing_class=of_thing_class,
                category=label,
                is_thing=of_thing_class and not is_crowd,
                bbox=segment.get('bbox'),
            )
        )
    return segments
