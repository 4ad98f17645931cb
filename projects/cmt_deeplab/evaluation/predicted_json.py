"""The JSON of predictions in COCO's panoptic format, read beside that of the truth.

This module imports neither torch nor mmdet.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from cmt_deeplab.categories import class_of, described, hint
from cmt_deeplab.errors import UserError
from cmt_deeplab.panoptic_json import parse_panoptic_json, read_panoptic_json, require_image


def read_predictions(
    path: str, truth: Mapping, gt_json: str, *, by_name: bool = False, as_panopticapi: bool = False
) -> dict:
    """The annotation of each image by the id of the image, all as in the truth.

    Args:
        truth: the content of the file ``gt_json``.
        by_name: where the predictions list their categories or images, these are the ones of the
            same name in the truth, whatever their ids. Where two images have one name, ids count.

    Raises:
        UserError: an image of the truth has no prediction, or the categories do not suit.
    """
    known = {category['id']: category for category in truth['categories']}
    listed = parse_panoptic_json(path) if by_name else {}
    needs = [part for part in ('images', 'categories') if listed.get(part)]
    content = read_panoptic_json(
        path,
        needs=(*needs, 'annotations'),
        known_categories=None if 'categories' in needs else known,
        as_panopticapi=as_panopticapi,
    )
    if 'categories' in needs:
        _take_categories(content, truth, path, gt_json)
    elif not as_panopticapi:
        _check_categories(known, content.get('categories'), path, gt_json)
    ids = _same_images(content['images'], truth['images']) if 'images' in needs else {}
    predicted = {ids.get(e['image_id'], e['image_id']): e for e in content['annotations']}
    for entry in truth['annotations']:
        owners = gt_json, path
        require_image(entry['image_id'], predicted, owners=owners, remedy='predict every image')
    return predicted


def _take_categories(content: Mapping, truth: Mapping, path: str, gt_json: str) -> None:
    """Give the segments the category ids of the truth, by names."""
    ids = {class_of(category): category['id'] for category in truth['categories']}
    classes = {category['id']: class_of(category) for category in content['categories']}
    for entry in content['annotations']:
        for segment in entry['segments_info']:
            found = classes[segment['category_id']]
            if found not in ids:
                raise UserError(
                    f'{path} has a segment of {described(found)}, which {gt_json} lacks'
                    f'{hint(found, ids)}: evaluate on data with the classes of the model.'
                )
            segment['category_id'] = ids[found]


def _same_images(listed: Sequence[dict], known: Sequence[dict]) -> dict:
    """The id in the truth of each predicted image, by the names of files without their endings.

    Where one name is that of an image in the truth, ids alone mean nothing: an image of another
    name gets a key that no image of the truth has.
    """
    one, other = (
        {PurePath(image['file_name']).stem: image['id'] for image in images}
        for images in (listed, known)
    )
    if len(one) < len(listed) or len(other) < len(known):
        return {}
    if one.keys().isdisjoint(other):
        return {}
    return {number: other.get(name, f'{number} ({name})') for name, number in one.items()}


def _check_categories(known: Mapping[int, dict], listed: object, path: str, gt_json: str) -> None:
    """Refuse predictions whose own list of categories, if any, has another class for an id."""
    for entry in listed if isinstance(listed, list) else ():
        category = entry.get('id') if isinstance(entry, dict) else None
        truth = known.get(category, {}) if isinstance(category, int) else {}
        for key in ('name', 'isthing'):
            if key in truth and entry.get(key) not in (None, truth[key]):
                raise UserError(
                    f'{path} gives category {category} the "{key}" {entry[key]!r}, but '
                    f'{gt_json} gives it {truth[key]!r}: predict with the categories of the ground '
                    'truth.'
                )
