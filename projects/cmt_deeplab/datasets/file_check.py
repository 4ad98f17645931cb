"""Before training: the files that an annotation file names, which are checked or, if faulty, left.

Every image of a data set is a record with ``img_path``, ``seg_map_path`` (None without truth),
``height``, ``width`` and ``segments_info``.
"""

import logging
import os
import os.path as osp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mmcv.transforms import LoadImageFromFile
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.logging import print_log

from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.image_file import check_image_file, image_size, panoptic_png_problem

from .load_panoptic_index_map import LoadPanopticIndexMap, check_png_size

MOST_CHECKED = 20000  # images; one takes about 0.2 ms
WHOLE_SET = 0.5  # the share of faulty images from which on the fault is one of the whole set


def check_files(records: Sequence[dict], ann_file: str) -> None:
    """Look for every file, at both ends and the size of not too many, and at the ids of some.

    Raises:
        MissingFileError: a folder or a file in it does not exist.
        UserError: a file is damaged or does not suit the annotation file.
    """
    _find_files(records, ann_file)
    for record in records if len(records) <= MOST_CHECKED else ():
        check_image_file(record['img_path'])
        png = record['seg_map_path']
        if png:
            unfit = panoptic_png_problem(check_image_file(png, kind='panoptic PNG'))
            if unfit:
                raise UserError(f'{png} {unfit}.')
            size, shape = image_size(png), image_size(record['img_path'])
            if size:
                check_png_size(size, record)
                if shape and sorted(shape) != sorted(size):  # as an EXIF tag may turn the image
                    check_png_size(size, dict(record, ori_shape=shape))
    load_truth = LoadPanopticIndexMap()
    for record in records[:: max(len(records) // 8, 1)]:
        load_truth(dict(record))


def _find_files(records: Sequence[dict], ann_file: str) -> None:
    """Every file must exist. Each folder is listed once instead of asking for every file."""
    for key, prefix in (('img_path', 'img'), ('seg_map_path', 'seg')):
        paths = [osp.split(record[key]) for record in records if record[key]]
        present = set()
        for folder in {folder for folder, _ in paths}:
            if not osp.isdir(folder or '.'):
                raise MissingFileError(
                    f'The folder {folder} does not exist: put the files there or correct '
                    f'data_root and data_prefix.{prefix} of the data set.'
                )
            present.update((folder, name) for name in os.listdir(folder or '.'))
        missing = [osp.join(*path) for path in paths if path not in present]
        if missing:
            raise MissingFileError(
                f'{missing[0]} does not exist although {ann_file} names it (files that '
                f'are missing there: {len(missing)}): put them there or correct '
                f'data_prefix.{prefix} of the data set.'
            )


def without_faulty(
    records: Sequence[dict], ann_file: str, backend_args: dict | None
) -> tuple[list[dict], list[str]]:
    """The records whose image and truth can be read, and a sentence for each other one.

    Every file is read and decoded once, by one of the processes, so that the images of a run are
    the same in all of them, from its start to its end, and in a resumed run.

    Raises:
        UserError: half of the images or more are faulty.
    """
    load_image = LoadImageFromFile(backend_args=backend_args)
    load_truth = LoadPanopticIndexMap(backend_args=backend_args)

    def fault(record: dict) -> str | None:
        try:
            load_truth(load_image(dict(record)))
        except UserError as error:
            return str(error)

    rank, number = get_dist_info()
    with ThreadPoolExecutor() as pool:
        shares = all_gather_object(list(pool.map(fault, records[rank::number])))
    faults = [shares[i % number][i // number] for i in range(len(records))]
    kept = [record for record, why in zip(records, faults) if why is None]
    skipped = [why for why in faults if why is not None]
    if skipped:
        summary = f'{len(skipped)} of the {len(records)} images of {ann_file} are faulty'
        if len(skipped) >= WHOLE_SET * len(records):
            raise UserError(
                f'{summary}, which is a fault of the whole data set, so that skip_faulty_images '
                f'does not leave them out; the first: {skipped[0]}'
            )
        print_log(f'{summary} and left out; the first: {skipped[0]}', 'current', logging.WARNING)
    return kept, skipped
