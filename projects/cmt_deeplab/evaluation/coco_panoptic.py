"""PQ of one folder of panoptic PNGs against another, and the segments of one image of a folder.

This module imports neither torch nor mmdet.
"""

import os
import os.path as osp
from collections.abc import Callable, Mapping
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

from .pq import PQRow, SegmentTable, aggregate, count_image, joint_histogram


def segment_table(
    annotation: dict, labels: Mapping[int, int], *, is_prediction: bool = False
) -> SegmentTable:
    """The ``segments_info`` of one image, with ``labels`` of its category ids.

    A segment that does not say ``iscrowd`` is none. As in panopticapi the areas that a ground
    truth states are trusted, if every segment has one; those of a prediction are counted.
    """
    segments = annotation['segments_info']
    columns = dict(
        ids=[segment['id'] for segment in segments],
        categories=[labels[segment['category_id']] for segment in segments],
        is_crowd=[segment.get('iscrowd', 0) for segment in segments],
    )
    if not is_prediction and all('area' in segment for segment in segments):
        columns['areas'] = [segment['area'] for segment in segments]
    return SegmentTable(**{key: np.array(column, np.int64) for key, column in columns.items()})


def check_ids(plane: np.ndarray, table: SegmentTable, *, png: str, listed_in: str) -> None:
    """Refuse a plane whose ids are not those of the table; segments of area 0 may be absent."""
    # Each id starts a run of equal pixels somewhere, and there are far fewer runs than pixels.
    flat = plane.ravel()
    present = np.unique(np.append(flat[1:][flat[1:] != flat[:-1]], flat[:1]))
    expected = table.ids if table.areas is None else table.ids[table.areas > 0]
    check_same_ids(
        np.setdiff1d(present, np.append(table.ids, VOID_ID)),
        np.setdiff1d(expected, present),
        png=png,
        listed_in=listed_in,
    )


def evaluate_folders(
    gt_json: str,
    gt_folder: str,
    pred_json: str,
    pred_folder: str,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict]:
    """PQ, SQ and RQ as panopticapi's ``pq_compute`` returns them; ``per_class`` is by category id.

    Every image of the ground truth needs a prediction; further predictions are ignored.
    ``progress(done, total)`` is called after each image.

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
        entry.get('id'): (entry.get('height'), entry.get('width'))
        for entry in truth.get('images') or ()
        if isinstance(entry, dict)
    }
    for entry in truth['annotations']:
        if entry['image_id'] not in predicted:
            raise UserError(
                f'{pred_json} has no prediction for image {entry["image_id"]} of {gt_json}: '
                'predict every image.'
            )

    def count(entry: dict) -> PQRow:
        image_id = entry['image_id']
        guess, size = predicted[image_id], sizes.get(image_id, (None, None))
        gt_path = osp.join(gt_folder, entry['file_name'])
        pred_path = osp.join(pred_folder, guess['file_name'])
        gt_plane, pred_plane = read_id_plane(gt_path), read_id_plane(pred_path)
        if None not in size:
            remedy = 'take PNGs and JSON from one release'
            check_same_size(gt_path, gt_plane.shape, f'its size in {gt_json}', size, remedy)
        remedy = 'write predictions at the size of the original image'
        check_same_size(
            pred_path, pred_plane.shape, f'its ground truth {gt_path}', gt_plane.shape, remedy
        )
        gt = segment_table(entry, labels)
        pred = segment_table(guess, labels, is_prediction=True)
        check_ids(gt_plane, gt, png=gt_path, listed_in=f'{gt_json} (image {image_id})')
        check_ids(pred_plane, pred, png=pred_path, listed_in=f'{pred_json} (image {image_id})')
        histogram = joint_histogram(gt_plane, pred_plane)
        return count_image(image_id, gt, pred, gt_void=VOID_ID, histogram=histogram)

    rows: list[PQRow] = []
    # Threads suffice, since OpenCV and numpy release the interpreter while they decode and compare.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = [pool.submit(count, entry) for entry in truth['annotations']]
        try:
            for future in futures:
                rows.append(future.result())
                if progress is not None:
                    progress(len(rows), len(futures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return aggregate(rows, categories)
