"""PQ of one folder of panoptic PNGs against another, and the segments of one image of a folder.

This module imports neither torch nor mmdet.
"""

import os
import os.path as osp
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from cmt_deeplab.analysis.segment_rows import image_score
from cmt_deeplab.coco_format import (
    VOID_ID,
    check_same_ids,
    check_same_size,
    path_below,
    read_id_plane,
)
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.panoptic_json import read_panoptic_json
from cmt_deeplab.remarks import ImageScore, evaluation_remarks

from .boundary import boundary_histogram
from .pq import SegmentTable, aggregate, joint_histogram, match_segments
from .predicted_json import read_predictions

NEEDS = ('categories', 'annotations')
KEPT_BYTES = 31 << 20  # below the largest threshold that glibc sets by itself


def listed_segments(
    annotation: dict,
    present: np.ndarray,
    *,
    png: str,
    json_file: str,
    label_of: Callable[[int], int] = int,
    is_prediction: bool = False,
    as_panopticapi: bool = False,
) -> SegmentTable:
    """The segments that the entry ``annotation`` of ``json_file`` lists of a plane of ids.

    A segment that does not say ``iscrowd`` is none. A true one with the area 0 may be absent.

    Args:
        present: the distinct ids of the plane.
        png: the path of the plane.
        label_of: gives the category that is counted, of a category id.
        as_panopticapi: where ids stand twice, the last segment counts, and the ids of a ground
            truth may differ from those of its PNG.

    Raises:
        UserError: the ids of the plane are not the listed ones.
    """
    segments = [*{segment['id']: segment for segment in annotation['segments_info']}.values()]

    def figures(key: str) -> np.ndarray:
        return np.array([segment.get(key, np.nan) for segment in segments], float)

    table = SegmentTable(
        ids=np.array([segment['id'] for segment in segments], np.int64),
        categories=np.array([label_of(segment['category_id']) for segment in segments], np.int64),
        is_crowd=np.array([segment.get('iscrowd') == 1 for segment in segments], bool),
        areas=figures('area'),
        scores=figures('score') if is_prediction and not as_panopticapi else np.nan,
    )
    if is_prediction or not as_panopticapi:
        needed = table.ids if is_prediction else table.ids[table.areas != 0]
        check_same_ids(
            {*present.tolist()} - {*table.ids.tolist(), VOID_ID},
            {*needed.tolist()} - {*present.tolist()},
            png=png,
            listed_in=f'{json_file} (image {annotation["image_id"]})',
        )
    return table


def folder_scores(
    gt_json: str,
    gt_folder: str,
    pred_json: str,
    pred_folder: str,
    *,
    as_panopticapi: bool = False,
    by_name: bool = False,
    with_boundary: bool = False,
    with_rows: bool = True,
    warn: Callable[[str], object] = warnings.warn,
    track: Callable[[Iterator, int], Iterable] = lambda images, total: images,
) -> tuple[dict[int, dict], list[ImageScore]]:
    """The categories of the ground truth by id, and what its images score, in its order.

    Every image of the ground truth needs a prediction; further predictions are ignored.

    Args:
        as_panopticapi: believe the areas that the ground truth states, and accept what else
            panopticapi accepts; see docs/data_and_training.md.
        by_name: match the categories and images that predictions list by names, see
            :func:`.predicted_json.read_predictions`.
        with_boundary: count boundary PQ, too.
        with_rows: give the images their rows of segments and pixels, which PQ does not need.
        warn: is called with each sentence on what is right but needs a word.
        track: ``track(images, total)`` may show the progress of an iterator over the images; it
            hands them on.

    Raises:
        UserError: a file is missing, damaged or does not suit the others; the message names it.
    """
    for folder, what in ((gt_folder, 'ground-truth'), (pred_folder, 'predicted')):
        if not osp.isdir(folder):
            raise MissingFileError(
                f'The folder {folder} with the {what} PNGs does not exist: correct the path.'
            )
    truth = read_panoptic_json(
        gt_json,
        needs=NEEDS if as_panopticapi else ('images', *NEEDS),
        optional='images',
        names_needed=False,
        as_panopticapi=as_panopticapi,
    )
    categories = {category['id']: category for category in truth['categories']}
    predicted = read_predictions(
        pred_json, truth, gt_json, by_name=by_name, as_panopticapi=as_panopticapi
    )
    sizes = {}
    if not as_panopticapi:
        sizes = {entry['id']: (entry['height'], entry['width']) for entry in truth['images']}
        scored = {entry['image_id'] for entry in truth['annotations']}
        for ids, where in (
            (sizes, f'{gt_json} lists but does not annotate'),
            (predicted, f'only {pred_json} has'),
        ):
            if unscored := [image_id for image_id in ids if image_id not in scored]:
                warn(
                    f'{len(unscored)} images that {where} are not scored (first: image '
                    f'{unscored[0]}).'
                )

    def read(entry: dict, folder: str, json_file: str, **size: Any) -> tuple[str, np.ndarray]:
        png = path_below(folder, entry['file_name'], json_file)
        return png, read_id_plane(png, check_size=partial(check_same_size, png, **size))

    segments = partial(listed_segments, as_panopticapi=as_panopticapi)

    def score(entry: dict) -> ImageScore:
        image_id = entry['image_id']
        predicted_entry = predicted[image_id]
        gt_png, gt_plane = read(
            *(entry, gt_folder, gt_json),
            other=f'its size in {gt_json}',
            expected=sizes.get(image_id),
            remedy='take PNGs and JSON from one release',
        )
        pred_png, pred_plane = read(
            *(predicted_entry, pred_folder, pred_json),
            other=f'its ground truth {gt_png}',
            expected=gt_plane.shape,
            remedy='write predictions at the size of the original image',
        )
        histogram = joint_histogram(gt_plane, pred_plane)
        gt = segments(entry, histogram[0], png=gt_png, json_file=gt_json)
        pred = segments(
            *(predicted_entry, histogram[1]), png=pred_png, json_file=pred_json, is_prediction=True
        )
        match = partial(
            *(match_segments, gt, pred),
            gt_void=VOID_ID,
            histogram=histogram,
            believe_areas=as_panopticapi,
        )
        boundary = None
        if with_boundary:
            boundary = match(boundary=boundary_histogram(gt_plane, pred_plane, VOID_ID)).counts()
        return image_score(match(), image_id, boundary, with_rows=with_rows)

    # glibc returns large arrays to the system as soon as they are freed, until one of this size was
    # (mallopt(3), "dynamic mmap threshold"), and to get their pages anew takes a sixth of the time.
    np.empty(KEPT_BYTES, np.uint8)
    # Threads suffice, since OpenCV and numpy release the interpreter while they decode and compare.
    # The first error cancels what has not begun.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scores = list(track(pool.map(score, truth['annotations']), len(truth['annotations'])))
    stuff = {i: c.get('name', i) for i, c in categories.items() if c['isthing'] != 1}
    for remark in evaluation_remarks(scores, stuff, gt_json, pred_json):
        if not as_panopticapi:
            warn(remark)
    return categories, scores


def evaluate_folders(*files: str, **options: Any) -> dict[str, dict]:
    """PQ, SQ and RQ as panopticapi's ``pq_compute`` returns them; ``per_class`` is by category id.

    The arguments are those of :func:`folder_scores`, and so are the errors.

    Raises:
        UserError: with the areas of the ground truth a figure exceeds 1.
    """
    categories, scores = folder_scores(*files, with_rows=False, **options)
    kinds = {category: entry['isthing'] == 1 for category, entry in categories.items()}
    figures = aggregate((score.counts for score in scores), kinds)
    if any(row['sq'] > 1 for row in figures['per_class'].values()):
        raise UserError(
            f'With the areas that {files[0]} states panopticapi gives figures above 100 %: correct '
            'the areas, or leave out --as-panopticapi to count the pixels.'
        )
    return figures
