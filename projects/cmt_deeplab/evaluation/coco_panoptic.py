"""PQ of one folder of panoptic PNGs against another, and the segments of one image of a folder.

This module imports neither torch nor mmdet.
"""

import os
import os.path as osp
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cmt_deeplab.coco_format import (
    VOID_ID,
    check_same_ids,
    check_same_size,
    read_id_plane,
    read_panoptic_json,
)
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.planes import runs

from .pq import ImageCounts, SegmentTable, aggregate, joint_histogram, match_segments


def read_segments(
    annotation: dict,
    labels: Mapping[int, int],
    *,
    folder: str,
    json_file: str,
    expected_size: Sequence | None = None,
    is_prediction: bool = False,
) -> tuple[np.ndarray, SegmentTable]:
    """The ids (H, W) and the segments of one image, with ``labels`` of its category ids.

    A segment that does not say ``iscrowd`` is none. As in panopticapi the areas that a ground
    truth states are trusted, if every segment has one; those of a prediction are counted.

    Args:
        annotation: the entry of the image in the list of ``json_file``.
        folder: where the PNGs lie.
        expected_size: the last arguments of :func:`check_same_size`, where the size is known.

    Raises:
        UserError: the PNG cannot be read, or its size or its ids are not the expected ones. A
            segment of area 0 may be absent.
    """
    path = osp.join(folder, annotation['file_name'])
    plane, segments = read_id_plane(path), annotation['segments_info']
    if expected_size is not None:
        check_same_size(path, plane.shape, *expected_size)
    areas = None
    if not is_prediction and all('area' in segment for segment in segments):
        areas = np.array([segment['area'] for segment in segments], np.int64)
    table = SegmentTable(
        ids=np.array([segment['id'] for segment in segments], np.int64),
        categories=np.array([labels[segment['category_id']] for segment in segments], np.int64),
        is_crowd=np.array([segment.get('iscrowd', 0) for segment in segments], bool),
        areas=areas,
    )
    present = np.unique(runs(plane)[0])
    check_same_ids(
        np.setdiff1d(present, [*table.ids, VOID_ID]),
        np.setdiff1d(table.ids if areas is None else table.ids[areas > 0], present),
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
    track: Callable[[Iterator, int], Iterable] = lambda images, total: images,
) -> dict[str, dict]:
    """PQ, SQ and RQ as panopticapi's ``pq_compute`` returns them; ``per_class`` is by category id.

    Every image of the ground truth needs a prediction; further predictions are ignored.
    ``track(images, total)`` may show the progress of an iterator over the images; it hands them on.

    Raises:
        UserError: a file is missing, damaged or does not suit the others; the message names it.
    """
    for folder, what in ((gt_folder, 'ground-truth'), (pred_folder, 'predicted')):
        if not osp.isdir(folder):
            raise MissingFileError(
                f'The folder {folder} with the {what} PNGs does not exist: correct the path.'
            )
    truth = read_panoptic_json(gt_json, category_names=False)
    categories = {entry['id']: entry['isthing'] == 1 for entry in truth['categories']}
    labels = {category: category for category in categories}
    predicted = {
        entry['image_id']: entry
        for entry in read_panoptic_json(
            pred_json, needs=('annotations',), known_categories=categories
        )['annotations']
    }
    sizes = {
        entry['id']: (entry['height'], entry['width'])
        for entry in truth.get('images') or ()
        if isinstance(entry, dict) and {'id', 'height', 'width'} <= entry.keys()
    }
    for entry in truth['annotations']:
        if entry['image_id'] not in predicted:
            raise UserError(
                f'{pred_json} has no prediction for image {entry["image_id"]} of {gt_json}: '
                'predict every image.'
            )

    def count(entry: dict) -> ImageCounts:
        image_id, size = entry['image_id'], None
        if image_id in sizes:
            remedy = 'take PNGs and JSON from one release'
            size = f'its size in {gt_json}', sizes[image_id], remedy
        gt_plane, gt = read_segments(
            entry, labels, folder=gt_folder, json_file=gt_json, expected_size=size
        )
        remedy = 'write predictions at the size of the original image'
        gt_path = osp.join(gt_folder, entry['file_name'])
        pred_plane, pred = read_segments(
            predicted[image_id],
            labels,
            folder=pred_folder,
            json_file=pred_json,
            expected_size=(f'its ground truth {gt_path}', gt_plane.shape, remedy),
            is_prediction=True,
        )
        histogram = joint_histogram(gt_plane, pred_plane)
        return match_segments(gt, pred, gt_void=VOID_ID, histogram=histogram).counts()

    # Threads suffice, since OpenCV and numpy release the interpreter while they decode and compare.
    # The first error cancels what has not begun.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = track(pool.map(count, truth['annotations']), len(truth['annotations']))
        return aggregate(images, categories)
