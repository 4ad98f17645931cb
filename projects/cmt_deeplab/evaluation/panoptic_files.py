"""Files in COCO's panoptic format: truth that a metric reads, and predictions that it writes."""

import logging
import math
import os
import os.path as osp
from collections.abc import Callable, Hashable, Mapping, Sequence
from urllib.parse import quote

import numpy as np
from mmengine.fileio import dump
from mmengine.logging import print_log
from PIL import Image

from cmt_deeplab.categories import (
    category_labels,
    class_list,
    class_of,
    described,
    hint,
    segments_of,
)
from cmt_deeplab.coco_format import colors_of_ids, path_below, read_id_plane
from cmt_deeplab.errors import UserError, make_folder_of
from cmt_deeplab.panoptic_json import read_panoptic_json, require_image
from cmt_deeplab.planes import ranked, runs

from .coco_panoptic import listed_segments
from .pq import SegmentTable


class TruthFiles:
    """A panoptic JSON, and its PNGs in ``folder``; without a folder the categories alone."""

    def __init__(self, ann_file: str, folder: str | None) -> None:
        self.ann_file, self.folder = ann_file, folder
        needs = ('categories',) if folder is None else ('categories', 'annotations')
        content = read_panoptic_json(ann_file, needs=needs)
        self.categories = content['categories']
        listed = () if folder is None else content['annotations']
        self.annotations = {annotation['image_id']: annotation for annotation in listed}

    def category_ids(self, metainfo: Mapping, *, all_needed: bool) -> list[int | None]:
        """The category id of each label of a data set; None for one that the file lacks.

        The class of every segment must be one of the data set. The other way round, a class that no
        image shows may be missing, unless ``all_needed``.
        """
        classes, self._labels = class_list(metainfo), category_labels(self.categories, metainfo)
        for annotation in self.annotations.values():
            segments_of(annotation, self._labels, self.categories, metainfo, self.ann_file)
        category_of = {label: category for category, label in self._labels.items()}
        for label, entry in enumerate(classes if all_needed else ()):
            if label not in category_of:
                known = [class_of(category) for category in self.categories]
                raise UserError(
                    f'{self.ann_file} does not have {described(entry)}, a class of the data set'
                    f'{hint(entry, known)}: add it to "categories", or give the metric the '
                    'ann_file of the data set.'
                )
        return [category_of.get(label) for label in range(len(classes))]

    def truth_of(
        self, img_id: Hashable, check_size: Callable[[Sequence[int]], None]
    ) -> tuple[np.ndarray, SegmentTable]:
        """The plane (H, W) of an image, and its segments with the labels of the data set.

        ``check_size`` gets (H, W) and may refuse it before anything is decoded.
        """
        owners, remedy = ('The data set', self.ann_file), 'give the ann_file of this data set'
        require_image(img_id, self.annotations, owners=owners, remedy=remedy)
        annotation = self.annotations[img_id]
        png = path_below(self.folder, annotation['file_name'], self.ann_file)
        plane = read_id_plane(png, check_size=check_size)
        owner = dict(png=png, json_file=self.ann_file, label_of=self._labels.get)
        return plane, listed_segments(annotation, ranked(runs(plane)[0])[0], **owner)


class PredictionFiles:
    """``PREFIX.panoptic.json`` and the PNGs in ``PREFIX.panoptic/``.

    ``categories`` are those of the JSON, by which predictions are compared with a truth whose ids
    of the classes are others.
    """

    categories: Sequence[dict] = ()  # one of each label

    def __init__(self, prefix: str) -> None:
        self.folder = f'{prefix}.panoptic'
        self.json_file = f'{self.folder}.json'
        make_folder_of(self.json_file)

    def write_png(
        self, img_id: Hashable, img_path: str | None, plane: np.ndarray, table: SegmentTable
    ) -> dict:
        """Write the segments of ``table`` in a plane (H, W) with the ids 1..S on black.

        Returns the entry of the image in the JSON, with the scores that are known.
        """
        name = png_name(img_id, img_path)
        values, rank, areas = np.unique(plane, return_inverse=True, return_counts=True)
        is_segment = np.isin(values, table.ids)
        id_of_value = np.cumsum(is_segment) * is_segment
        colors = colors_of_ids(id_of_value[rank.reshape(plane.shape)])
        path = osp.join(self.folder, name)
        try:
            os.makedirs(self.folder, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(colors)).save(path, 'PNG')
        except OSError as error:
            raise UserError(
                f'The prediction {path} cannot be written ({error.strerror or error}): make room '
                'there, or set another outfile_prefix.'
            ) from error
        scores = np.broadcast_to(table.scores, table.ids.shape)
        found = zip(table.categories, areas[is_segment].tolist(), scores.tolist())
        segments = [
            dict(id=k, category_id=self.categories[label]['id'], area=area)
            | ({} if math.isnan(score) else dict(score=score))
            for k, (label, area, score) in enumerate(found, start=1)
        ]
        return dict(image_id=img_id, file_name=name, segments_info=segments)

    def write_json(self, annotations: Sequence[dict]) -> None:
        dump(dict(categories=self.categories, annotations=annotations), self.json_file)
        print_log(
            f'Panoptic predictions written to {self.json_file} and {self.folder}/', logger='current'
        )

    def try_json(self, annotations: Sequence[dict | str]) -> str | None:
        """Write the JSON, or log and return why not; an entry may already be such a sentence."""
        fault = next((entry for entry in annotations if isinstance(entry, str)), None)
        try:
            if not fault:
                self.write_json(annotations)
        except UserError as error:
            fault = str(error)
        if fault:
            print_log(fault, logger='current', level=logging.ERROR)
        return fault


def png_name(img_id: Hashable, img_path: str | None) -> str:
    """A name that no other image has, since ``img_id`` is in it.

    It is that of the image where that is the id, as in COCO, where zeros stand before it.
    """
    stem = osp.splitext(osp.basename(img_path or ''))[0]
    if isinstance(img_id, int) and stem:
        return f'{stem}.png' if stem.lstrip('0') == str(img_id) else f'{stem}_{img_id}.png'
    return f'{quote(str(img_id), safe="")}.png'
