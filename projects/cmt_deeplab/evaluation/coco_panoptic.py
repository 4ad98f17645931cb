"""COCO panoptic files: the JSON, the PNGs whose color is a segment id, and PQ of one folder against another.

Imports neither torch nor mmdet, so that ``tools/analysis_tools/evaluate_panoptic.py`` starts at once. What is wrong with a file is said in
one sentence that names it: FileNotFoundError if it is absent, ValueError otherwise.
"""

import json
import os
import os.path as osp
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from cmt_deeplab.errors import MissingFileError, UserError

from .pq import PQRow, SegmentTable, aggregate, count_image, joint_histogram

VOID_ID = 0  # black: no segment


def read_panoptic_json(
    path: str, *, needs: Sequence[str] = ('categories', 'annotations'), category_names: bool = True
) -> dict:
    """A COCO panoptic JSON, checked as far as the lists named in ``needs`` (of ``categories``, ``annotations``) go.

    ``category_names``: whether the categories must have names, which counting alone never reads.
    """
    if not osp.isfile(path):
        raise MissingFileError(f'there is no annotation file {path}: check the path')
    try:
        with open(path, encoding='utf-8') as stream:
            content = json.load(stream)
    except (ValueError, OSError) as error:
        raise UserError(
            f'{path} cannot be read as JSON ({error}): write or download it again'
        ) from None
    for key in needs:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise UserError(
                f'{path} has no list "{key}" and so is not a COCO panoptic JSON: give the panoptic_*.json file'
            )
    category_fields = ('id', 'name', 'isthing') if category_names else ('id', 'isthing')
    for key, fields in dict(
        annotations=('image_id', 'file_name', 'segments_info'), categories=category_fields
    ).items():
        for entry in content[key] if key in needs else ():
            for field in fields:
                if not isinstance(entry, dict) or field not in entry:
                    raise UserError(
                        f'{path} has an entry of "{key}" without "{field}" and so is not a COCO panoptic JSON: give the '
                        'panoptic_*.json file, not one for boxes or instances'
                    )
    return content


def read_id_plane(path: str) -> np.ndarray:
    """The ids R + 256 G + 65536 B of a panoptic PNG, ``(H, W)`` uint32."""
    try:
        with Image.open(path) as image:
            if image.mode not in ('RGB', 'RGBA'):
                raise UserError(
                    f'{path} is a PNG of mode {image.mode} but segment ids are stored as RGB colors: give panoptic PNGs'
                )
            image.load()
            # Pillow keeps RGB as four bytes a pixel, so this is one copy and no arithmetic on the channels
            raw = image.tobytes('raw', 'RGBX' if image.mode == 'RGB' else 'RGBA')
            width, height = image.size
    except FileNotFoundError:
        raise MissingFileError(
            f'the panoptic PNG {path} is missing: check the folder and the "file_name" of the JSON'
        ) from None
    except (OSError, SyntaxError, EOFError) as error:
        raise UserError(
            f'{path} cannot be read as an image ({error}): write or download it again'
        ) from None
    return np.frombuffer(raw, dtype='<u4').reshape(height, width) & 0xFFFFFF


def segment_table(
    annotation: dict, *, path: str, categories, is_ground_truth: bool
) -> SegmentTable:
    """The ``segments_info`` of one image of the JSON ``path`` as arrays; of two entries with one id the last counts, as in panopticapi.

    A ground-truth segment that does not say ``iscrowd`` is none; areas are those of the plane unless every segment has one.
    """
    segments, image, fields = {}, f'image {annotation["image_id"]}', ('id', 'category_id')
    if not isinstance(annotation['segments_info'], list):
        raise UserError(
            f'{path}: "segments_info" of {image} is not a list: give a COCO panoptic JSON'
        )
    for entry in annotation['segments_info']:
        written = [
            field
            for field in ('iscrowd', 'area')
            if is_ground_truth and isinstance(entry, dict) and field in entry
        ]
        for field in (*fields, *written):
            if not isinstance(entry, dict) or not isinstance(entry.get(field), (int, float)):
                raise UserError(
                    f'{path}: a segment of {image} has no number "{field}": write the JSON again with it'
                )
        if entry['category_id'] not in categories:
            raise UserError(
                f'{path}: segment {entry["id"]} of {image} has the category_id {entry["category_id"]}, which is not among the '
                'categories of the data set: map the categories first'
            )
        segments[entry['id']] = entry
    ids, labels, crowds = (
        np.array([entry.get(field, 0) for entry in segments.values()], dtype=np.int64)
        for field in (*fields, 'iscrowd')
    )
    if not is_ground_truth:
        return SegmentTable(ids, labels)
    areas = None
    if all('area' in entry for entry in segments.values()):
        areas = np.array([entry['area'] for entry in segments.values()], dtype=np.int64)
    return SegmentTable(ids, labels, crowds, areas)


def _check_ids(
    plane_ids: np.ndarray, table: SegmentTable, *, image_id, json_path: str, png_path: str
) -> None:
    unlisted = np.setdiff1d(plane_ids, np.append(table.ids, VOID_ID))
    if len(unlisted):
        raise UserError(
            f'{png_path} holds segment id {unlisted[0]}, which {json_path} does not list for image {image_id}: the two '
            'do not belong together, write both again'
        )
    absent = np.setdiff1d(table.ids, plane_ids)
    if table.areas is not None:  # a ground-truth segment that is declared empty agrees with its PNG
        absent = np.setdiff1d(absent, table.ids[table.areas == 0])
    if len(absent):
        raise UserError(
            f'{json_path} lists segment id {absent[0]} for image {image_id}, which {png_path} does not hold: the two '
            'do not belong together, write both again'
        )


def read_ground_truth(annotation: dict, *, json_path: str, folder: str, categories) -> tuple:
    """``(plane (H, W) uint32, SegmentTable)`` of one image, its PNG checked against its JSON."""
    path = osp.join(folder, annotation['file_name'])
    plane = read_id_plane(path)
    table = segment_table(annotation, path=json_path, categories=categories, is_ground_truth=True)
    _check_ids(
        np.unique(plane[_run_starts(plane)]),
        table,
        image_id=annotation['image_id'],
        json_path=json_path,
        png_path=path,
    )
    return plane, table


def _run_starts(plane: np.ndarray) -> tuple:
    """Indices of the pixels that differ from their left neighbor, and of the first column: every id of the plane is among them."""
    differs = np.ones(plane.shape, dtype=bool)
    np.not_equal(plane[:, 1:], plane[:, :-1], out=differs[:, 1:])
    return np.nonzero(differs)


def evaluate_folders(
    gt_json: str,
    gt_folder: str,
    pred_json: str,
    pred_folder: str,
    *,
    num_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict]:
    """PQ, SQ, RQ as panopticapi's ``pq_compute`` returns them: ``All``, ``per_class`` (by category id), ``Things``, ``Stuff``.

    Every image of the ground truth needs a prediction; further predictions are ignored. ``progress(done, total)`` is called after each
    image. Raises FileNotFoundError or ValueError with a sentence that names the file.
    """
    for folder, what in ((gt_folder, 'ground-truth'), (pred_folder, 'predicted')):
        if not osp.isdir(folder):
            raise MissingFileError(
                f'there is no folder {folder} with the {what} PNGs: check the path'
            )
    truth = read_panoptic_json(gt_json, category_names=False)
    predicted = {
        entry['image_id']: entry
        for entry in read_panoptic_json(pred_json, needs=('annotations',))['annotations']
    }
    categories = {entry['id']: bool(entry['isthing'] == 1) for entry in truth['categories']}
    sizes = {
        entry.get('id'): (entry.get('height'), entry.get('width'))
        for entry in truth.get('images') or ()
        if isinstance(entry, dict)
    }
    for entry in truth['annotations']:
        if entry['image_id'] not in predicted:
            raise UserError(
                f'{pred_json} has no prediction for image {entry["image_id"]} of {gt_json}: predict every image'
            )

    def one(entry: dict) -> PQRow:
        image_id, guess = entry['image_id'], predicted[entry['image_id']]
        gt_path, pred_path = (
            osp.join(gt_folder, entry['file_name']),
            osp.join(pred_folder, guess['file_name']),
        )
        gt_plane, pred_plane = read_id_plane(gt_path), read_id_plane(pred_path)
        declared = sizes.get(image_id, (None, None))
        if None not in declared and gt_plane.shape != declared:
            raise UserError(
                f'{gt_path} is {_size(gt_plane.shape)} but {gt_json} says {_size(declared)}: the two do not belong together'
            )
        if gt_plane.shape != pred_plane.shape:
            raise UserError(
                f'{pred_path} is {_size(pred_plane.shape)} but its ground truth {gt_path} is {_size(gt_plane.shape)}: '
                'write predictions at the size of the original image'
            )
        gt = segment_table(entry, path=gt_json, categories=categories, is_ground_truth=True)
        pred = segment_table(guess, path=pred_json, categories=categories, is_ground_truth=False)
        histogram = joint_histogram(gt_plane, pred_plane)
        _check_ids(histogram[0], gt, image_id=image_id, json_path=gt_json, png_path=gt_path)
        _check_ids(histogram[1], pred, image_id=image_id, json_path=pred_json, png_path=pred_path)
        return count_image(image_id, gt, pred, gt_void=VOID_ID, histogram=histogram)

    rows: list[PQRow] = []
    # threads, not processes: Pillow and numpy let go of the interpreter while they decode and compare
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        futures = [pool.submit(one, entry) for entry in truth['annotations']]
        try:
            for future in futures:
                rows.append(future.result())
                if progress is not None:
                    progress(len(rows), len(futures))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    return aggregate(rows, categories)


def _size(shape: Sequence[int]) -> str:
    return f'{shape[1]} x {shape[0]} pixels'
