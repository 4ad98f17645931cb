"""Reading a COCO panoptic annotation file: everything that can be wrong with it is said here, in one sentence, before training starts."""

import json
from collections.abc import Sequence

from mmengine.fileio import load

from cmt_deeplab.errors import MissingFileError, UserError

FORMAT_HINT = 'the data set needs the COCO panoptic format (panoptic_train2017.json, not instances_train2017.json)'


def load_annotation_file(
    path: str, *, needs_annotations: bool, backend_args: dict | None = None
) -> dict:
    """The parsed file, with ``images``, ``annotations`` and ``categories`` of the right form.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a COCO panoptic annotation file, or a category does not say whether it is a thing.
    """
    if not path:
        raise UserError(
            'The key ann_file of the data set is empty: name the COCO panoptic annotation file there.'
        )
    try:
        content = load(path, file_format='json', backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(
            f'{path} does not exist: put the annotation file there or correct data_root and ann_file of the data '
            'set.'
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f'{path} is no JSON file ({error}): fetch or write it again.') from None
    if not isinstance(content, dict):
        raise UserError(
            f'{path} is not a panoptic annotation file, it holds a {type(content).__name__}: {FORMAT_HINT}.'
        )
    content.setdefault('annotations', [])
    for key in ('images', 'categories', 'annotations'):
        if not isinstance(content.get(key), list):
            raise UserError(
                f'{path} is not a panoptic annotation file, it has no list {key!r}: {FORMAT_HINT}.'
            )
    if not content['images']:
        raise UserError(f'{path} lists no image: check ann_file of the data set.')
    if needs_annotations and not content['annotations']:
        raise UserError(
            f'{path} has no annotations, so nothing can be learned from it: {FORMAT_HINT}.'
        )
    _check_images(content['images'], path)
    _check_categories(content['categories'], path)
    _check_annotations(content['annotations'], path)
    return content


def _check_images(images: Sequence[dict], path: str) -> None:
    for image in images:
        for key in ('id', 'file_name', 'height', 'width'):
            if not isinstance(image, dict) or key not in image:
                raise UserError(
                    f'{path}: an entry of images has no {key!r} ({_short(image)}): add it.'
                )
        if not all(
            isinstance(image[side], int) and image[side] > 0 for side in ('height', 'width')
        ):
            raise UserError(
                f'{path}: image {image["id"]} has the size {image["height"]!r} x {image["width"]!r}, but height and width are '
                'whole numbers of pixels: correct it.'
            )
    _check_unique('images', 'id', images, path)


def _check_categories(categories: Sequence[dict], path: str) -> None:
    for category in categories:
        for key in ('id', 'name', 'isthing'):
            if not isinstance(category, dict) or key not in category:
                remedy = 'say 1 for a thing and 0 for stuff' if key == 'isthing' else 'add it'
                raise UserError(
                    f'{path}: the category {_short(category)} has no {key!r}: {remedy}.'
                )
    _check_unique('categories', 'id', categories, path)


def _check_unique(part: str, key: str, entries: Sequence[dict], path: str) -> None:
    seen = set()
    for value in (entry[key] for entry in entries):
        if not isinstance(value, (int, str)):
            raise UserError(
                f'{path}: {part} has an entry whose {key!r} is {_short(value)}, but it is a number: correct it.'
            )
        if value in seen:
            raise UserError(
                f'{path}: {part} has two entries with the {key!r} {value}: take one out.'
            )
        seen.add(value)


def _check_annotations(annotations: Sequence[dict], path: str) -> None:
    for annotation in annotations:
        if not isinstance(annotation, dict) or not isinstance(
            annotation.get('segments_info'), list
        ):
            raise UserError(
                f"{path} is not a panoptic annotation file, an annotation has no list 'segments_info': {FORMAT_HINT}."
            )
        for key in ('image_id', 'file_name'):
            if key not in annotation:
                raise UserError(
                    f'{path}: an annotation has no {key!r} ({_short(annotation)}): add it.'
                )
        for segment in annotation['segments_info']:
            if not isinstance(segment, dict) or 'id' not in segment or 'category_id' not in segment:
                raise UserError(
                    f'{path}: segments_info of image {annotation["image_id"]} has an entry {_short(segment)} where a dict '
                    "with 'id' and 'category_id' must stand: correct it."
                )
            if not isinstance(segment['category_id'], int):
                raise UserError(
                    f'{path}: image {annotation["image_id"]} has the category_id {_short(segment["category_id"])}, but it is '
                    'a whole number: correct it.'
                )
            if not isinstance(segment['id'], int) or not 0 < segment['id'] < 2**24:
                raise UserError(
                    f'{path}: image {annotation["image_id"]} has the segment id {segment["id"]!r}, but ids are whole numbers '
                    'from 1 to 16777215, the color R + 256 G + 65536 B in the PNG: correct it.'
                )
        _check_unique(
            f'segments_info of image {annotation["image_id"]}',
            'id',
            annotation['segments_info'],
            path,
        )
    _check_unique('annotations', 'image_id', annotations, path)


def _short(value) -> str:
    text = str(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def metainfo_of(categories: Sequence[dict]) -> dict:
    """Names, things first, each part in the order of the file, and the file's colors."""
    things = [c for c in categories if c['isthing']]
    stuff = [c for c in categories if not c['isthing']]
    names = [[c['name'] for c in part] for part in (things, stuff)]
    colors = [tuple(c['color']) for c in things + stuff if c.get('color')]
    return complete_metainfo(
        dict(
            thing_classes=names[0],
            stuff_classes=names[1],
            **(dict(palette=colors) if len(colors) == len(categories) else {}),
        )
    )


def complete_metainfo(metainfo: dict) -> dict:
    """``classes`` = ``thing_classes`` + ``stuff_classes``, and a palette if there is none.

    Raises:
        ValueError: if one of the lists is missing or a name stands twice.
    """
    for key in ('thing_classes', 'stuff_classes'):
        if key not in metainfo:
            raise UserError(
                f'metainfo of the data set has no {key!r}: name thing_classes and stuff_classes, or leave metainfo out to '
                'take the categories of the annotation file.'
            )
    classes = (*metainfo['thing_classes'], *metainfo['stuff_classes'])
    if len(set(classes)) != len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        raise UserError(
            f'The class names {twice} of the data set stand twice: give every thing and stuff class a name of its own.'
        )
    if tuple(metainfo.get('classes', classes)) != classes:
        raise UserError(
            'metainfo.classes of the data set differs from thing_classes + stuff_classes: leave classes out.'
        )
    palette = metainfo.get('palette') or [
        (37 * (i + 2) % 256, 91 * (i + 1) % 256, 151 * (i + 3) % 256) for i in range(len(classes))
    ]
    if len(palette) != len(classes):
        raise UserError(
            f'metainfo.palette of the data set has {len(palette)} colors for {len(classes)} classes: give one to each.'
        )
    return {
        **metainfo,
        'classes': classes,
        'thing_classes': tuple(metainfo['thing_classes']),
        'stuff_classes': tuple(metainfo['stuff_classes']),
        'palette': [tuple(color) for color in palette],
    }


def category_labels(categories: Sequence[dict], metainfo: dict) -> dict[int, int | None]:
    """Contiguous label of each category id, None where the data set does not know the name (or knows it as the other kind)."""
    thing_label = {name: i for i, name in enumerate(metainfo['thing_classes'])}
    stuff_label = {name: i + len(thing_label) for i, name in enumerate(metainfo['stuff_classes'])}
    return {
        c['id']: (thing_label if c['isthing'] else stuff_label).get(c['name']) for c in categories
    }


def segments_of(
    annotation: dict,
    labels: dict[int, int | None],
    names: dict[int, str],
    num_things: int,
    path: str,
) -> list[dict]:
    """``segments_info`` of one image with labels; the keys ``id``, ``category``, ``is_thing`` are mmdet's (a crowd is no thing there).

    Raises:
        ValueError: if a category is unknown to the file or to the data set.
    """
    segments = []
    for segment in annotation['segments_info']:
        category_id = segment['category_id']
        label = labels.get(category_id)
        if label is None:
            if category_id not in labels:
                raise UserError(
                    f"{path}: image {annotation['image_id']} uses the category id {category_id}, which the file's categories "
                    'do not list: add it there.'
                )
            raise UserError(
                f'{path}: image {annotation["image_id"]} uses the category {names[category_id]!r} (id {category_id}), which '
                'is unknown to the data set or thing in one and stuff in the other: correct metainfo of the data set.'
            )
        is_crowd, of_thing_class = bool(segment.get('iscrowd', 0)), label < num_things
        segments.append(
            dict(
                id=segment['id'],
                category=label,
                is_thing=of_thing_class and not is_crowd,
                of_thing_class=of_thing_class,
                is_crowd=is_crowd,
                category_id=category_id,
                bbox=segment.get('bbox'),
                area=segment.get('area'),
            )
        )
    return segments
