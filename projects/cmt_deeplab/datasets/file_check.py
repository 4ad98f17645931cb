"""Before training: the files that an annotation file names, which are checked or, if faulty, left.

Every image of a data set is a record with ``img_path``, ``seg_map_path`` (None without truth),
``height``, ``width`` and ``segments_info``.
"""

import logging
import os
import os.path as osp
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.logging import print_log

from cmt_deeplab.coco_format import path_below
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.image_file import check_image_file, panoptic_png_problem

from .load_image import check_header
from .load_panoptic_index_map import LoadPanopticIndexMap, check_png_size

MOST_CHECKED = 20000  # images; one takes about 0.2 ms
WHOLE_SET = 0.5  # the share of faulty images from which on the fault is one of the whole set


def check_files(records: Sequence[dict], ann_file: str, load_image: LoadImageFromFile) -> None:
    """Look for every file, at both ends and the size of not too many, and at the ids of some.

    ``load_image`` is what will load the images.

    Raises:
        MissingFileError: a folder or a file in it does not exist.
        UserError: a file is damaged or does not suit the annotation file.
    """
    _find_files(records, ann_file)
    for record in records if len(records) <= MOST_CHECKED else ():
        header, png = check_image_file(record['img_path']), record['seg_map_path']
        if png:
            truth = check_image_file(png, kind='panoptic PNG')
            if unfit := panoptic_png_problem(truth):
                raise UserError(f'{png} {unfit}.')
            check_png_size(truth.size_read(turning=False), record)
        check_header(header, record, load_image)
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
            with os.scandir(folder or '.') as entries:
                present.update((folder, entry.name) for entry in entries if entry.is_file())
        missing = [osp.join(*path) for path in paths if path not in present]
        if missing:
            raise MissingFileError(
                f'There is no file {missing[0]}, although {ann_file} names it (files that are '
                f'missing there: {len(missing)}): put them there or correct data_prefix.{prefix} '
                'of the data set.'
            )


def without_faulty(
    records: Sequence[dict], ann_file: str, load_image: LoadImageFromFile
) -> tuple[list[dict], list[str]]:
    """The records whose image and truth can be read, and a sentence for each other one.

    Every file is read and decoded once, by one of the processes, so that the images of a run are
    the same in all of them, from its start to its end, and in a resumed run.

    Raises:
        UserError: half of the images or more are faulty.
    """
    load_truth = LoadPanopticIndexMap(backend_args=load_image.backend_args)

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


def paths_of_equal_names(dataset: Any) -> list[str]:
    """The paths of all images of a data set, if two have one name but for folder and ending."""
    infos = map(getattr(dataset, 'get_data_info', lambda index: {}), range(len(dataset)))
    given = (info.get('img_path') for info in infos)
    paths = {osp.abspath(path) for path in given if isinstance(path, str)}
    names = {osp.splitext(osp.basename(path))[0] for path in paths}
    return sorted(paths) if len(names) < len(paths) else []


def _checking_names(parse: Callable) -> Callable:
    """``parse_data_info`` of a data set of mmdet, after the check of the "file_name"."""

    def parse_data_info(self: CocoDataset, raw_data_info: dict) -> dict:
        folder, name = self.data_prefix.get('img') or '', raw_data_info['raw_img_info']['file_name']
        path_below(folder, name, self.ann_file)
        return parse(self, raw_data_info)

    return parse_data_info


for kind in (CocoDataset, CocoPanopticDataset):
    kind.parse_data_info = _checking_names(kind.parse_data_info)
