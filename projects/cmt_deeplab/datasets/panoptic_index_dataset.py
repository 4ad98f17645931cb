"""Data sets in the COCO panoptic format that yield segment-index planes."""

import logging
from collections.abc import Sequence
from functools import partial

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get
from mmengine.logging import print_log

from cmt_deeplab.categories import (
    category_labels,
    class_list,
    class_of,
    complete_metainfo,
    metainfo_of,
    segments_of,
)
from cmt_deeplab.coco_format import check_num_classes, path_below
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import as_size
from cmt_deeplab.panoptic_fields import HINT
from cmt_deeplab.panoptic_json import read_panoptic_json
from cmt_deeplab.remarks import json_remarks

from .dataset_check import check_pipelines
from .file_check import check_files, without_faulty
from .plane_cache import find_planes, plane_file
from .shared_records import collector_paused, read_once, sharing

LOADING = 'color_type', 'imdecode_backend'  # of LoadImageFromFile


@DATASETS.register_module()
class PanopticIndexDataset(CocoPanopticDataset):
    """mmdet's ``CocoPanopticDataset`` with what index planes need besides.

    The classes are those of the argument ``metainfo`` (``thing_classes``, ``stuff_classes``,
    optionally ``palette``), or of ``METAINFO`` of a subclass. Without them they are the categories
    of the annotation file, things first, each part in alphabetical order; COCO's 133 keep COCO's
    order. A category of the file has the label of its class, which is found by its name and
    whether it is a thing. A class of a segment must be among the classes of the data set, which may
    have more.

    ``image_size`` (height, width) is handed to the transforms, which read it where they have no
    size of their own, so that a config states the size once. With ``own_scale`` it is the size of
    crops alone: ``PanopticResize`` and ``PanopticLargeScaleJitter`` do not fit the images into it.
    In training every image with a segment stays, also those without a thing, which mmdet drops.

    When the data set is built, each file that the annotations name is looked for, and the images
    are checked for damage and size, unless there are too many (``file_check.py``); these are
    checked as they are read. With ``skip_faulty_images`` every file is read then, which takes about
    10 ms of one processor for an image, and images that are faulty, or whose truth is, are left
    out. ``skipped_images`` has a sentence for each of them.

    With ``plane_cache`` the planes come from the file that ``tools/misc/cache_planes.py`` wrote:
    NAME.planes beside the annotation file NAME.json, or the one of this path below ``data_root``.

    Raises:
        MissingFileError: the annotation file, or a folder or a file in it, does not exist.
        UserError: the annotation file is not panoptic or has categories that the data set does not
            know, a file is damaged or does not suit it, no image is left, or a transform of the
            pipeline does not treat the truth as it treats the image.
    """

    def __init__(
        self,
        *,
        metainfo: dict | None = None,
        data_prefix: dict | None = None,
        image_size: tuple[int, int] | None = None,
        own_scale: bool = False,
        skip_faulty_images: bool = False,
        plane_cache: bool | str = False,
        **kwargs,
    ) -> None:
        self.skip_faulty_images, self.skipped_images = skip_faulty_images, []
        self.own_scale, self.plane_cache = own_scale, plane_cache
        self.image_size = image_size and as_size(image_size, 'image_size of the data set')
        coco, given = self.METAINFO is CocoPanopticDataset.METAINFO, metainfo or {}
        stated = {**({} if coco or 'thing_classes' in given else self.METAINFO), **given}
        self._classes_stated = bool(stated)
        super().__init__(
            metainfo=complete_metainfo(stated) if stated else None,
            data_prefix=data_prefix or dict(img='', seg=''),
            **kwargs,
        )
        check_pipelines(self)

    def full_init(self) -> None:
        """As in mmengine; in a run of several processes, one of each machine reads for all."""
        if self._fully_initialized:  # ConcatDataset and RepeatDataset call it once more
            return
        with collector_paused():
            if sharing() and self.serialize_data and not self.skip_faulty_images:
                read_once(self, super().full_init)
            else:
                super().full_init()

    @property
    def metainfo(self) -> dict:
        """mmengine's metainfo, empty while the classes are still to be read.

        mmdet's inference API takes the palette of the checkpoint then.
        """
        return super().metainfo if self._classes_stated or self._fully_initialized else {}

    def load_data_list(self) -> list[dict]:
        content = self._read_annotations()
        categories, classes = content['categories'], self._metainfo
        if not self._classes_stated and {*map(class_of, categories)} != {*class_list(classes)}:
            classes.update(metainfo_of(categories))
        check_num_classes(len(classes['classes']), self.ann_file)
        labels = category_labels(categories, classes)
        category_of = {label: category for category, label in labels.items()}
        self.category_ids = [category_of.get(label) for label in range(len(classes['classes']))]
        annotations = {a['image_id']: a for a in content['annotations']}
        data_list = []
        for image in content['images']:
            info = dict(
                img_id=image['id'],
                height=image['height'],
                width=image['width'],
                img_path=self._path('img', self.image_file(image)),
                seg_map_path=None,
                segments_info=[],
            )
            annotation = annotations.get(image['id'])
            if annotation is not None:
                info.update(
                    seg_map_path=self._path('seg', annotation['file_name']),
                    segments_info=segments_of(
                        annotation, labels, categories, classes, self.ann_file
                    ),
                )
            data_list.append(info)
        self.most_segments = max(
            sum(not segment['is_crowd'] for segment in info['segments_info']) for info in data_list
        )
        self._check_boxes(data_list)
        if self.skip_faulty_images:
            data_list, self.skipped_images = without_faulty(
                data_list, self.ann_file, self._load_image()
            )
        elif self.backend_args is None and '://' not in ''.join(self.data_prefix.values()):
            check_files(data_list, self.ann_file, self._load_image())
        if self.plane_cache:
            find_planes(plane_file(self), data_list, annotations)
        return data_list

    def _load_image(self) -> LoadImageFromFile:
        """As the pipeline loads images, but an error where one cannot be read."""
        steps = [step for step in self.pipeline.transforms if isinstance(step, LoadImageFromFile)]
        options = {key: getattr(step, key) for step in steps[:1] for key in LOADING}
        return LoadImageFromFile(backend_args=self.backend_args, **options)

    def _path(self, part: str, name: str) -> str:
        return path_below(self.data_prefix[part], name, self.ann_file)

    def image_file(self, image: dict) -> str:
        """Where an image of the annotation file lies below ``data_prefix['img']``."""
        return image['file_name']

    def _read_annotations(self) -> dict:
        if not self.ann_file:
            raise UserError(f'The key ann_file of the data set is empty: {HINT}.')
        content = read_panoptic_json(
            self.ann_file,
            needs=('images', 'categories', 'annotations'),
            optional='annotations',
            read=partial(get, backend_args=self.backend_args),
        )
        if not content['images']:
            raise UserError(f'{self.ann_file} lists no image: check ann_file of the data set.')
        if not (content['annotations'] or self.test_mode):
            raise UserError(
                f'{self.ann_file} has no annotations, so nothing can be learned from it: {HINT}.'
            )
        # Without any annotation it is a test set whose ground truth is withheld.
        truth = {annotation['image_id'] for annotation in content['annotations']}
        for image in content['images'] if self.test_mode and truth else ():
            if image['id'] not in truth:
                raise UserError(
                    f'{self.ann_file} has no annotation for image {image["id"]}, so it cannot be '
                    'evaluated: add one or take the image out.'
                )
        for remark in json_remarks(content, self.ann_file):
            print_log(remark, logger='current', level=logging.WARNING)
        return content

    def _check_boxes(self, data_list: Sequence[dict]) -> None:
        """Every thing needs its box where mmdet's loading of annotations reads it."""
        read = any(getattr(step, 'with_bbox', False) for step in self.pipeline.transforms)
        for info in data_list if read else ():
            for segment in info['segments_info']:
                if segment['is_thing'] and segment['bbox'] is None:
                    raise UserError(
                        f'{self.ann_file}: segment {segment["id"]} of image {info["img_id"]} has '
                        'no "bbox" [x, y, width, height], which the pipeline reads: add it, or '
                        'load the truth by LoadPanopticIndexMap, which reads no boxes.'
                    )

    def filter_data(self) -> list[dict]:
        """In training drop images without a segment but crowds, and those below ``min_size``."""
        if self.test_mode:
            return self.data_list
        config = self.filter_cfg or {}
        empty_too, smallest = not config.get('filter_empty_gt', True), config.get('min_size', 0)
        kept = [
            info
            for info in self.data_list
            if min(info['width'], info['height']) >= smallest
            and (empty_too or not all(segment['is_crowd'] for segment in info['segments_info']))
        ]
        if not kept:
            raise UserError(
                f'{self.ann_file} has no image of at least min_size={smallest} pixels with a '
                'segment that is no crowd: check ann_file and filter_cfg of the data set.'
            )
        return kept

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        info['num_classes'] = len(self._metainfo['classes'])
        if self.image_size:
            info['image_size'] = self.image_size
        if self.own_scale:
            info['own_scale'] = True
        # mmdet's own loading reads boxes here; the index path never does.
        info['instances'] = [
            dict(bbox=[x, y, x + w, y + h], bbox_label=s['label'], ignore_flag=0)
            for s in info['segments_info']
            if s['is_thing'] and s['bbox'] is not None
            for x, y, w, h in (s['bbox'],)
        ]
        return info

    def prepare_data(self, idx: int):
        info = self.get_data_info(idx)
        if not self.test_mode:
            info['dataset'] = self  # for transforms that need a second image
        return self.pipeline(info)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels of all segments but crowds, for ``ClassBalancedDataset``; stuff is among them."""
        segments = self.get_data_info(idx)['segments_info']
        return [s['label'] for s in segments if not s['is_crowd']]
