"""PQ of one folder of panoptic PNGs against another, and the segments of one image of a folder.

This module imports neither torch nor mmdet.
"""

import os
import os.path as osp
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cmt_deeplab.coco_format import VOID_ID, check_same_ids, check_same_size, read_id_plane
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.panoptic_json import read_panoptic_json, require_image
from cmt_deeplab.planes import runs
from cmt_deeplab.remarks import ImageScore, evaluation_remarks

from .pq import SegmentTable, aggregate, joint_histogram, match_segments

NEEDS = ('categories', 'annotations')


def read_segments(
    annotation: dict,
    *,
    folder: str,
    json_file: str,
    label_of: Callable[[int], int] = int,
    expected_size: Sequence | None = None,
    is_prediction: bool = False,
    as_panopticapi: bool = False,
) -> tuple[np.ndarray, SegmentTable]:
    """The ids (H, W) and the segments of one image.

    A segment that does not say ``iscrowd`` is none. A true one with the area 0 may be absent.

    Args:
        annotation: the entry of the image in the list of ``json_file``.
        folder: where the PNGs lie.
        label_of: gives the category that is counted, of a category id.
        expected_size: the last arguments of :func:`check_same_size`, where the size is known.
        as_panopticapi: where ids stand twice, the last segment counts, and the ids of a ground
            truth may differ from those of its PNG.

    Raises:
        UserError: the PNG cannot be read, or its size or its ids are not the expected ones.
    """
    path = osp.join(folder, annotation['file_name'])
    plane = read_id_plane(path)
    segments = [*{segment['id']: segment for segment in annotation['segments_info']}.values()]
    if expected_size is not None:
        check_same_size(path, plane.shape, *expected_size)
    table = SegmentTable(
        ids=np.array([segment['id'] for segment in segments], np.int64),
        categories=np.array([label_of(segment['category_id']) for segment in segments], np.int64),
        is_crowd=np.array([segment.get('iscrowd') == 1 for segment in segments], bool),
        areas=np.array([segment.get('area', np.nan) for segment in segments], float),
    )
    if is_prediction or not as_panopticapi:
        present = np.unique(runs(plane)[0])
        check_same_ids(
            np.setdiff1d(present, [*table.ids, VOID_ID]),
            np.setdiff1d(table.ids if is_prediction else table.ids[table.areas != 0], present),
            png=path,
            listed_in=f'{json_file} (image {annotation["image_id"]})',
        )
    return plane, table


def evaluate_folders(
    gt_json: str,
    gt_folder: str,
    pred_json: str,
    pred_folder: str,
    *,
    as_panopticapi: bool = False,
    warn: Callable[[str], object] = warnings.warn,
    track: Callable[[Iterator, int], Iterable] = lambda images, total: images,
) -> dict[str, dict]:
    """PQ, SQ and RQ as panopticapi's ``pq_compute`` returns them; ``per_class`` is by category id.

    Every image of the ground truth needs a prediction; further predictions are ignored.

    Args:
        as_panopticapi: believe the areas that the ground truth states, and accept what else
            panopticapi accepts; see docs/data_and_training.md.
        warn: is called with each sentence on what is right but needs a word.
        track: ``track(images, total)`` may show the progress of an iterator over the images; it
            hands them on.

    Raises:
        UserError: a file is missing, damaged or does not suit the others, or with the areas of the
            ground truth a figure exceeds 1; the message names it.
    """
    for folder, what in ((gt_folder, 'ground-truth'), (pred_folder, 'predicted')):
        if not osp.isdir(folder):
            raise MissingFileError(
                f'The folder {folder} with the {what} PNGs does not exist: correct the path.'
            )
    truth, predicted = _read_sides(gt_json, pred_json, as_panopticapi=as_panopticapi, warn=warn)
    images = [] if as_panopticapi else truth['images']
    sizes = {entry['id']: (entry['height'], entry['width']) for entry in images}

    def score(entry: dict) -> ImageScore:
        image_id, size = entry['image_id'], None
        if image_id in sizes:
            remedy = 'take PNGs and JSON from one release'
            size = f'its size in {gt_json}', sizes[image_id], remedy
        gt_plane, gt = read_segments(
            entry,
            folder=gt_folder,
            json_file=gt_json,
            expected_size=size,
            as_panopticapi=as_panopticapi,
        )
        remedy = 'write predictions at the size of the original image'
        gt_path = osp.join(gt_folder, entry['file_name'])
        pred_plane, pred = read_segments(
            predicted[image_id],
            folder=pred_folder,
            json_file=pred_json,
            expected_size=(f'its ground truth {gt_path}', gt_plane.shape, remedy),
            is_prediction=True,
        )
        matches = match_segments(
            gt,
            pred,
            gt_void=VOID_ID,
            histogram=joint_histogram(gt_plane, pred_plane),
            believe_areas=as_panopticapi,
        )
        return matches.score(image_id)

    # Threads suffice, since OpenCV and numpy release the interpreter while they decode and compare.
    # The first error cancels what has not begun.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scores = list(track(pool.map(score, truth['annotations']), len(truth['annotations'])))
    categories = {entry['id']: entry['isthing'] == 1 for entry in truth['categories']}
    stuff = {c['id']: c.get('name', c['id']) for c in truth['categories'] if c['isthing'] != 1}
    for remark in evaluation_remarks(scores, stuff, gt_json, pred_json):
        if not as_panopticapi:
            warn(remark)
    figures = aggregate((score.counts for score in scores), categories)
    rows = [*figures['per_class'].values(), *(figures[g] for g in ('All', 'Things', 'Stuff'))]
    if any(row[key] > 1 for row in rows for key in ('pq', 'sq', 'rq')):
        raise UserError(
            f'With the areas that {gt_json} states panopticapi gives figures above 100 %: correct '
            'the areas, or leave out --as-panopticapi to count the pixels.'
        )
    return figures


def _read_sides(
    gt_json: str, pred_json: str, *, as_panopticapi: bool, warn: Callable[[str], object]
) -> tuple[dict, dict[Hashable, dict]]:
    """The ground truth, and the predicted annotation of each image."""
    truth = read_panoptic_json(
        gt_json,
        needs=NEEDS if as_panopticapi else ('images', *NEEDS),
        optional='images',
        category_names=False,
        as_panopticapi=as_panopticapi,
    )
    names = {entry['id']: entry.get('name') for entry in truth['categories']}
    prediction = read_panoptic_json(
        pred_json, needs=('annotations',), known_categories=names, as_panopticapi=as_panopticapi
    )
    predicted = {entry['image_id']: entry for entry in prediction['annotations']}
    scored = dict.fromkeys(entry['image_id'] for entry in truth['annotations'])
    for image_id in scored:
        missing = f'{pred_json} has no prediction for image {image_id} of {gt_json}: predict '
        where = f'{gt_json} and {pred_json}'
        require_image(image_id, predicted, where=where, missing=f'{missing}every image.')
    if not as_panopticapi:
        _check_names(names, prediction.get('categories'), gt_json=gt_json, pred_json=pred_json)
        unscored = [entry['id'] for entry in truth['images'] if entry['id'] not in scored]
        for ids, where in (
            (unscored, f'{gt_json} lists but does not annotate'),
            ([i for i in predicted if i not in scored], f'only {pred_json} has'),
        ):
            if ids:
                warn(f'{len(ids)} images that {where} are not scored (first: image {ids[0]}).')
    return truth, predicted


def _check_names(names: dict, listed: object, *, gt_json: str, pred_json: str) -> None:
    """Refuse predictions whose own list of categories, if any, has another name for an id."""
    for entry in listed if isinstance(listed, list) else ():
        category, name = map(entry.get, ('id', 'name')) if isinstance(entry, dict) else (None, None)
        known = names.get(category) if isinstance(category, int) else None
        if known is not None and name not in (None, known):
            raise UserError(
                f'{pred_json} calls category {category} {name!r}, but {gt_json} calls it '
                f'{known!r}: predict with the categories of the ground truth.'
            )
