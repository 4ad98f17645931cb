"""The JSON of the COCO panoptic format, for which there is this one reader.

What a field has to hold stands in ``panoptic_fields``. This module imports neither torch nor mmdet.
"""

import json
from collections.abc import Callable, Collection, Container, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cmt_deeplab.coco_format import read_bytes
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.panoptic_fields import (
    FIELDS,
    HINT,
    IMAGE_ID,
    PANOPTICAPI_FIELDS,
    TEXT,
    UNIQUE,
    Field,
    Problem,
    entry_problems,
)

PREDICTED = 'panoptic.json'  # what a prediction writes, beside the folders panoptic and overlay
PREDICTIONS = dict(description='Predictions of cmt-deeplab')  # "info", its first entry
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


def is_prediction(file: Path) -> bool:
    """Whether a JSON is one that this package has predicted, by its first bytes."""
    start = json.dumps(dict(info=PREDICTIONS))[:-1].encode()
    try:
        with open(file, 'rb') as opened:
            return opened.read(len(start)) == start
    except OSError:  # such as a link to nowhere, of which the readers tell
        return False


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
    content = parse_panoptic_json(path, read=read)
    for problem in json_problems(
        content,
        path,
        needs=needs,
        optional=optional,
        names_needed=names_needed,
        known_categories=known_categories,
        as_panopticapi=as_panopticapi,
    ):
        raise UserError(problem.sentence)
    return content


def json_problems(
    content: dict,
    path: str,
    *,
    needs: Sequence[str],
    optional: str | None = None,
    names_needed: bool = True,
    known_categories: Container[int] | None = None,
    as_panopticapi: bool = False,
) -> Iterator[Problem]:
    """Every entry of a panoptic JSON that is not as it has to be, and leaves its list.

    So the lists are sound when the iteration has come to its end. The arguments are those of
    :func:`read_panoptic_json`.

    Raises:
        UserError: a list is missing.
    """
    if optional and content.get(optional) is None:
        content[optional] = []
    fields = dict(PANOPTICAPI_FIELDS if as_panopticapi else FIELDS)
    if not (names_needed or as_panopticapi):
        fields['categories'] = dict(FIELDS['categories'], name=replace(TEXT, needed=False))

    def check(entries: list, part: str, place: str) -> Iterator[Problem]:
        return entry_problems(
            entries, part, fields[part], () if as_panopticapi else UNIQUE[part], place
        )

    ids = {}  # of all entries, as a faulty one is told once and not again where it is named
    for part in needs:
        entries = content.get(part)
        if part == 'annotations' and part != optional and 'categories' in needs and not entries:
            raise UserError(f'{path} {NO_TRUTH}.')
        if type(entries) is not list:
            raise UserError(f'{path} has no list "{part}": {HINT}.')
        listed = (entry.get('id') for entry in entries if type(entry) is dict)
        ids[part] = {value for value in listed if IMAGE_ID.fits(value)}
        yield from check(entries, part, f'{path}: "{part}"')
    if 'annotations' not in needs:
        return
    if known_categories is None and 'categories' in needs and not as_panopticapi:
        known_categories = ids['categories']
    if known_categories is not None:
        category_id = Field(
            'the id of a category of the data set (add the category, or map the ids first)',
            lambda value: type(value) is int and value in known_categories,
        )
        fields['segments_info'] = dict(fields['segments_info'], category_id=category_id)
    owners = f'"annotations" of {path}', f'the list "images" of {path}'
    for annotation in content['annotations']:
        image_id = annotation['image_id']
        if ids.get('images'):
            try:
                require_image(image_id, ids['images'], owners=owners, remedy='add it there')
            except UserError as error:
                yield Problem('annotations', 'image_id', False, str(error))
        place = f'{path}: "segments_info" of image {image_id}'
        yield from check(annotation['segments_info'], 'segments_info', place)


def parse_panoptic_json(path: str, *, read: Callable[[str], bytes] = read_bytes) -> dict:
    """The content of a JSON that is not one of another kind, whose lists are not checked yet.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no JSON, or one of another kind.
    """
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
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{path} cannot be read as JSON ({error}): write it again, in UTF-8, or download it '
            'again.'
        ) from None
    _refuse_other_kind(content, path)
    return content


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
