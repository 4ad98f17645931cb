"""COCO-panoptic data sets for the segment-index path."""

import os
import os.path as osp
from collections.abc import Sequence

from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS

from cmt_deeplab.errors import MissingFileError, UserError

from .image_file import check_image_file, png_size
from .load_panoptic_index_map import LoadPanopticIndexMap
from .panoptic_annotations import (
    category_labels,
    complete_metainfo,
    load_annotation_file,
    metainfo_of,
    segments_of,
)
from .shape_forms import STUFF_CLASSES, THING_CLASSES, categories

MOST_CHECKED = 20000  # images; one takes some 0.1 ms


@DATASETS.register_module()
class PanopticIndexDataset(CocoPanopticDataset):
    """A data set in COCO panoptic format: what mmdet's ``CocoPanopticDataset`` yields, and what the index path needs besides.

    Classes: the argument ``metainfo`` (``thing_classes``, ``stuff_classes``, optionally ``palette``) wins; without it COCO's 133, unless
    the annotation file has other categories, which are taken then, things first. ``image_size`` (height, width) is handed to the
    transforms, which read it where they have no size of their own: a config states the size once. In training every image with a segment
    stays, also those without a thing (mmdet drops them). Each file named by the annotations is looked for when the data set is built; up to
    ``MOST_CHECKED`` images are checked for damage and size then, larger sets as they are read.

    Raises:
        FileNotFoundError: if the annotation file, a folder or a file in it is missing.
        ValueError: if the annotation file is not panoptic or has categories that the data set does not know, a file is damaged or does not
            suit it, or no image is left.
    """

    def __init__(
        self,
        *,
        ann_file: str = '',
        metainfo: dict | None = None,
        data_prefix: dict | None = None,
        image_size: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        self.image_size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
        self._metainfo_given = metainfo is not None
        metainfo = complete_metainfo(dict(metainfo)) if metainfo is not None else None
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_prefix=dict(data_prefix or dict(img='', seg='')),
            **kwargs,
        )

    @property
    def metainfo(self) -> dict:
        """mmengine's; without a palette while the classes are still to be read, so that mmdet's inference API takes the checkpoint's."""
        metainfo = super().metainfo
        if not (self._metainfo_given or self._fully_initialized):
            metainfo.pop('palette', None)
        return metainfo

    def load_data_list(self) -> list[dict]:
        content = load_annotation_file(
            self.ann_file, needs_annotations=not self.test_mode, backend_args=self.backend_args
        )
        listed = content['categories']
        if not self._metainfo_given and None in category_labels(listed, self._metainfo).values():
            self._metainfo.update(metainfo_of(listed))
        labels, names = (
            category_labels(listed, self._metainfo),
            {c['id']: c['name'] for c in listed},
        )
        annotations = self._by_image(content)
        num_things = len(self._metainfo['thing_classes'])
        data_list = []
        for image in content['images']:
            annotation = annotations.get(image['id'])
            data_list.append(
                dict(
                    img_id=image['id'],
                    height=image['height'],
                    width=image['width'],
                    img_path=osp.join(self.data_prefix['img'], self.image_file(image)),
                    seg_map_path=None
                    if annotation is None
                    else osp.join(self.data_prefix['seg'], annotation['file_name']),
                    segments_info=[]
                    if annotation is None
                    else segments_of(annotation, labels, names, num_things, self.ann_file),
                )
            )
        self._check_files(data_list)
        self._check_contents(data_list)
        return data_list

    def image_file(self, image: dict) -> str:
        """Where an image of the annotation file lies below ``data_prefix['img']``."""
        return image['file_name']

    def _by_image(self, content: dict) -> dict[int, dict]:
        known = {image['id'] for image in content['images']}
        annotations = {a['image_id']: a for a in content['annotations']}
        for image_id in annotations.keys() - known:
            raise UserError(
                f'{self.ann_file} annotates image {image_id}, which its list of images lacks: add it there.'
            )
        if self.test_mode and annotations:  # without any it is a test set whose truth is withheld
            for image_id in known - annotations.keys():
                raise UserError(
                    f'{self.ann_file} has no annotation for image {image_id}, so it cannot be evaluated: add one or take the '
                    'image out.'
                )
        return annotations

    def _is_local(self) -> bool:
        return self.backend_args is None and not any(
            '://' in str(prefix) for prefix in self.data_prefix.values()
        )

    def _check_files(self, data_list: Sequence[dict]) -> None:
        """Every file must be there; one listing a folder instead of one look-up a file."""
        if not self._is_local():
            return
        for key, prefix in (('img_path', 'img'), ('seg_map_path', 'seg')):
            present: dict[str, set] = {}
            missing = []
            for path in (info[key] for info in data_list if info[key]):
                folder, name = osp.split(path)
                if folder not in present:
                    if not osp.isdir(folder or '.'):
                        raise MissingFileError(
                            f'The folder {folder} does not exist: put the files there or correct data_root and '
                            f'data_prefix.{prefix} of the data set.'
                        )
                    present[folder] = {entry.name for entry in os.scandir(folder or '.')}
                if name not in present[folder]:
                    missing.append(path)
            if missing:
                more = f' and {len(missing) - 1} more files do' if len(missing) > 1 else ' does'
                raise MissingFileError(
                    f'{missing[0]}{more} not exist although {self.ann_file} names them: put them there or correct '
                    f'data_prefix.{prefix} of the data set.'
                )

    def _check_contents(self, data_list: Sequence[dict]) -> None:
        """Of a local set that is not too large: both ends of every file, the size of every PNG; and the ids of a few PNGs throughout."""
        if not self._is_local():
            return
        load_truth = LoadPanopticIndexMap()
        for info in data_list if len(data_list) <= MOST_CHECKED else ():
            check_image_file(info['img_path'])
            if info['seg_map_path']:
                check_image_file(info['seg_map_path'], kind='panoptic PNG')
                size = png_size(info['seg_map_path'])
                if size is not None:  # else no PNG, which the reader says
                    load_truth.check_size(size, info, info['seg_map_path'])
        for info in data_list[:: max(len(data_list) // 8, 1)]:
            load_truth(dict(info))

    def filter_data(self) -> list[dict]:
        """In training drop images that have no segment but crowds, and those smaller than ``filter_cfg.min_size``."""
        if self.test_mode:
            return self.data_list
        config = self.filter_cfg or {}
        empty_too, smallest = not config.get('filter_empty_gt', True), config.get('min_size', 0)
        kept = [
            info
            for info in self.data_list
            if min(info['width'], info['height']) >= smallest
            and (empty_too or any(not segment['is_crowd'] for segment in info['segments_info']))
        ]
        if not kept:
            raise UserError(
                f'{self.ann_file} has no image with a segment of at least min_size={smallest} pixels: check ann_file and '
                'filter_cfg of the data set.'
            )
        return kept

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        info['num_classes'] = len(self._metainfo['classes'])
        if self.image_size is not None:
            info['image_size'] = self.image_size
        # mmdet's own loading reads boxes here; the index path never does.
        info['instances'] = [
            dict(
                bbox=[
                    s['bbox'][0],
                    s['bbox'][1],
                    s['bbox'][0] + s['bbox'][2],
                    s['bbox'][1] + s['bbox'][3],
                ],
                bbox_label=s['category'],
                ignore_flag=0,
            )
            for s in info['segments_info']
            if s['is_thing'] and s['bbox'] is not None
        ]
        return info

    def prepare_data(self, idx: int):
        info = self.get_data_info(idx)
        if self._is_local():
            check_image_file(
                info['img_path']
            )  # OpenCV would fill the missing rest of a truncated image with gray
        if not self.test_mode:
            info['dataset'] = self  # for transforms that need a second image
        return self.pipeline(info)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels of all segments but crowds, stuff too: what ``ClassBalancedDataset`` balances."""
        return [
            s['category'] for s in self.get_data_info(idx)['segments_info'] if not s['is_crowd']
        ]


@DATASETS.register_module()
class ShapesPanopticDataset(PanopticIndexDataset):
    """Generated scenes of :mod:`cmt_deeplab.datasets.shapes` as ``tools/misc/make_shapes.py`` writes them."""

    METAINFO = complete_metainfo(
        dict(
            thing_classes=THING_CLASSES,
            stuff_classes=STUFF_CLASSES,
            palette=[tuple(c['color']) for c in categories()],
        )
    )
