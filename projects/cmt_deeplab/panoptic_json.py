"""The JSON of the COCO panoptic format, for which there is this one reader.

What a field has to hold stands in ``FIELDS``. This module imports neither torch nor mmdet.
"""

import json
import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from cmt_deeplab.coco_format import NUM_IDS, read_bytes
from cmt_deeplab.errors import MissingFileError, UserError

HINT = 'give a COCO panoptic JSON (panoptic_*.json, not one for boxes or instances)'
NO_TRUTH = (
    'has no ground truth (its list "annotations" is missing or empty), as the JSON of a test set: '
    'give a JSON with annotations, or set format_only=True and outfile_prefix of '
    'PanopticQualityMetric to write predictions without scoring them'
)
NO_JSON = {  # files that are taken for one, by their first bytes
    b'\x1f\x8b': 'is compressed (gzip): unpack it first',
    b'PK\x03\x04': 'is a zip archive: unpack it first',
    b'version https://git-lfs': 'is a pointer of Git LFS: fetch the file itself by git lfs pull',
    b'<': 'is a page of the web or XML: download the JSON again',
}
# JSONs of other kinds, by one of their lists and a key of the first entry in it.
OTHER_KINDS = (
    ('images', 'neg_category_ids', 'of LVIS'),
    ('annotations', 'keypoints', "of COCO's keypoints"),
    ('annotations', 'caption', "of COCO's captions"),
    ('annotations', 'segmentation', "of COCO's instances (instances_*.json)"),
    ('annotations', 'bbox', "of COCO's boxes (instances_*.json)"),
    ('shapes', 'points', 'of labelme'),
    ('objects', 'polygon', "of Cityscapes' polygons"),
)
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
    segments_info=dict(FIELDS['segments_info'], id=whole(0, NUM_IDS - 1), iscrowd=ANYTHING),
)


def read_panoptic_json(
    path: str,
    *,
    needs: Sequence[str] = ('categories', 'annotations'),
    optional: str | None = None,
    names_needed: bool = True,
    known_categories: Container[int] | None = None,
    as_panopticapi: bool = False,
    read: Callable[[str], bytes] = read_bytes,
) -> dict:
    """A COCO panoptic JSON, of which the lists named in ``needs`` are checked.

    Args:
        needs: any of ``images``, ``categories`` and ``annotations``.
        optional: one of these lists that may be missing, and is empty then.
        names_needed: whether the categories must have names.
        known_categories: the category ids that segments may have, by default those of the file.
        as_panopticapi: accept what panopticapi accepts: the ``PANOPTICAPI_FIELDS``, entries that
            stand twice, and segments of categories that the file lacks.
        read: gives the bytes of a path.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no such JSON, or a field does not hold what it has to.
    """
    content = _parse(path, read)
    _refuse_other_kind(content, path)
    if optional and content.get(optional) is None:
        content[optional] = []
    fields = dict(PANOPTICAPI_FIELDS if as_panopticapi else FIELDS)
    if not (names_needed or as_panopticapi):
        fields['categories'] = dict(FIELDS['categories'], name=replace(TEXT, needed=False))

    def check(entries: Sequence, part: str, place: str) -> None:
        _check_entries(entries, fields[part], () if as_panopticapi else UNIQUE[part], place)

    for part in needs:
        entries = content.get(part)
        if part == 'annotations' and part != optional and 'categories' in needs and not entries:
            raise UserError(f'{path} {NO_TRUTH}.')
        if type(entries) is not list:
            raise UserError(f'{path} has no list "{part}": {HINT}.')
        check(entries, part, f'{path}: "{part}"')
    if 'annotations' not in needs:
        return content
    if known_categories is None and 'categories' in needs and not as_panopticapi:
        known_categories = {category['id'] for category in content['categories']}
    if known_categories is not None:
        category_id = Field(
            'the id of a category of the data set (add the category, or map the ids first)',
            lambda value: type(value) is int and value in known_categories,
        )
        fields['segments_info'] = dict(fields['segments_info'], category_id=category_id)
    images = {image['id'] for image in content['images']} if 'images' in needs else None
    owners = f'"annotations" of {path}', f'the list "images" of {path}'
    for annotation in content['annotations']:
        image_id = annotation['image_id']
        if images:
            require_image(image_id, images, owners=owners, remedy='add it there')
        place = f'{path}: "segments_info" of image {image_id}'
        check(annotation['segments_info'], 'segments_info', place)
    return content


def _parse(path: str, read: Callable[[str], bytes]) -> object:
    try:
        data = read(path)
    except FileNotFoundError:
        raise MissingFileError(
            f'The annotation file {path} does not exist: put it there or correct the path.'
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({error}): correct the path.') from None
    for start, problem in NO_JSON.items():
        if data.startswith(start):
            raise UserError(f'{path} {problem}.')
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{path} cannot be read as JSON ({error}): write it again, in UTF-8, or download it '
            'again.'
        ) from None


def _refuse_other_kind(content: object, path: str) -> None:
    """Refuse what is no dict, and a JSON of another kind by its name."""
    lists = content if isinstance(content, dict) else dict(annotations=content)
    first = {k: v[0] for k, v in lists.items() if isinstance(v, list) and v and type(v[0]) is dict}
    for part, key, kind in OTHER_KINDS:
        if key in first.get(part, ()) and 'segments_info' not in first[part]:
            raise UserError(f'{path} is a JSON {kind}: {HINT}.')
    if lists is not content:
        raise UserError(f'{path} holds a {type(content).__name__}, not a dict: {HINT}.')
    if 'annotations' not in content and 'isthing' not in first.get('categories', ('isthing',)):
        raise UserError(
            f'{path} is a list of test images without ground truth (image_info_*.json), whose '
            'categories are not panoptic: join its images with the categories of a panoptic JSON, '
            "as mmdet's tools/misc/gen_coco_panoptic_test_info.py does."
        )


def _check_entries(
    entries: Sequence, fields: Mapping[str, Field], unique: Sequence[str], place: str
) -> None:
    for entry in entries:
        if type(entry) is not dict:
            raise UserError(f'{place} has the entry {short(entry)}, not a dict: {HINT}.')
        for name, field in fields.items():
            if name not in entry:
                if field.needed:
                    raise UserError(
                        f'{place} has an entry without "{name}" ({short(entry)}): add it, or '
                        f'{HINT}.'
                    )
            elif not field.fits(entry[name]):
                key = next(iter(fields))
                which = f' with the "{key}" {short(entry.get(key))}' if name != key else ''
                raise UserError(
                    f'{place} has an entry{which} whose "{name}" is {short(entry[name])} '
                    f'({type(entry[name]).__name__}), but it has to be {field.form}: correct it.'
                )
    for key in unique:
        values = [entry[key] for entry in entries if key in entry]
        if len({*values}) < len(values):
            [(value, _)] = Counter(values).most_common(1)
            remedy = f'give each its own "{key}", or take one out'
            raise UserError(f'{place} has two entries with the "{key}" {value}: {remedy}.')


def require_image(
    image_id: Hashable, ids: Collection[Hashable], *, owners: tuple[str, str], remedy: str
) -> None:
    """Refuse an image of the first owner that is not among the ``ids`` of the second one."""
    if image_id in ids:
        return
    first, second = owners
    for other in ids:
        if str(other) == str(image_id):
            kinds = ' and '.join(f'{i!r} ({type(i).__name__})' for i in (image_id, other))
            raise UserError(
                f'{first} and {second} have the image ids {kinds}: write both in one type.'
            )
    raise UserError(f'{first} has image {image_id}, which {second} lacks: {remedy}.')
