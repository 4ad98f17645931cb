"""What a model found in one image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.ndimage import find_objects

from cmt_deeplab.coco_format import box_of, colors_of_ids, label_of, map_value
from cmt_deeplab.errors import MissingPackageError, UserError
from cmt_deeplab.visualization import PanopticDrawer
from cmt_deeplab.whole_file import whole_file


@dataclass(frozen=True, kw_only=True, eq=False)
class PanopticResult:
    """The segments of one image.

    ``id_map`` and ``segments_info`` are what Hugging Face calls ``segmentation`` and
    ``segments_info``; with ``category_id`` for ``label_id`` they are those of COCO.

    Attributes:
        id_map: (H, W) int32, the id of the segment of each pixel; 0 is void.
        segments_info: one dict for each segment, best score first, with ``id`` (1, 2, ...),
            ``label_id`` (an index of ``classes``), ``label`` (its name), ``isthing``, ``score``
            (class probability times mean mask probability; None where the model tells none),
            ``area`` in pixels and ``bbox`` [x, y, width, height].
        classes: names of all classes, things first.
        num_things_classes: how many of them are things.
        image: (H, W, 3) uint8 in RGB.
        name: of the image, unique among those of a call; without folder and ending where possible.
        path: of the image or video, None for one that was given as an array.
        frame: the number of the frame of a video.
        palette: a color of each class, or None.
    """

    id_map: np.ndarray = field(repr=False)
    segments_info: list[dict]
    classes: tuple[str, ...] = field(repr=False)
    num_things_classes: int = field(repr=False)
    image: np.ndarray = field(repr=False)
    name: str
    path: str | None = None
    frame: int | None = None
    palette: Sequence[tuple[int, int, int]] | None = field(default=None, repr=False)

    @cached_property
    def segment_map(self) -> np.ndarray:
        """(H, W) int32 with mmdet's values: label + 1000 x instance; void is the class count."""
        values = [len(self.classes)]
        instance = 0
        for info in self.segments_info:
            instance += info['isthing']
            values.append(map_value(info['label_id'], instance * info['isthing']))
        return np.array(values, np.int32)[self.id_map]

    def mask(self, segment_id: int) -> np.ndarray:
        """The mask (H, W) bool of one segment."""
        return self.id_map == segment_id

    def draw(self, **options: Any) -> np.ndarray:
        """The image with the segments over it, RGB uint8; ``options`` are those of PanopticDrawer.

        Small images are enlarged, so that names can be read; ``min_side=1`` keeps the size.
        """
        drawer = PanopticDrawer(
            classes=self.classes,
            num_things_classes=self.num_things_classes,
            palette=self.palette,
            **options,
        )
        return drawer.draw(self.image, self.segment_map)

    def save(self, path: str | os.PathLike, **options: Any) -> None:
        """Write the picture of :meth:`draw`; the ending of ``path`` is its format."""
        _write(path, self.draw(**options)[..., ::-1])

    def save_ids(self, path: str | os.PathLike) -> None:
        """Write ``id_map`` as a PNG of COCO, with the colors id = R + 256 G + 65536 B.

        Raises:
            UserError: the path does not end in .png, or cannot be written.
        """
        if not str(path).lower().endswith('.png'):
            raise UserError(f'{path} would change the ids: give a name that ends in .png.')
        _write(path, colors_of_ids(self.id_map)[..., ::-1])

    def to_supervision(self) -> Any:
        """``supervision.Detections`` with boxes, masks, scores and the names of classes.

        Raises:
            MissingPackageError: supervision, an optional package, is not installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise MissingPackageError(
                'to_supervision needs the optional package supervision: pip install '
                '"cmt-deeplab[supervision]".'
            ) from error
        infos = self.segments_info
        boxes = np.array([info['bbox'] for info in infos], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        scores = [info['score'] for info in infos]
        return Detections(
            xyxy=boxes,
            mask=self.id_map == np.arange(1, len(infos) + 1)[:, None, None],
            confidence=None if None in scores else np.array(scores, np.float32),
            class_id=np.array([info['label_id'] for info in infos], int),
            data=dict(class_name=np.array([info['label'] for info in infos], str)),
        )


def as_result(
    segment_map: np.ndarray,
    infos: Sequence[Mapping] | None,
    classes: tuple[str, ...],
    num_things_classes: int,
    **others: Any,
) -> PanopticResult:
    """The result of a segment map (H, W) with mmdet's values, and of its segments where known."""
    if infos is None:  # of mmdet's merges
        areas = np.bincount(segment_map.ravel())
        infos = [dict(id=value, area=int(areas[value])) for value in np.flatnonzero(areas).tolist()]
        infos = [info for info in infos if label_of(info['id']) < len(classes)]
    numbers = np.zeros(segment_map.max() + 1, np.int32)
    for number, info in enumerate(infos, start=1):
        numbers[info['id']] = number
    # by torch, as numpy would make indices of 8 bytes for each pixel
    places = torch.from_numpy(segment_map.astype(np.int32, copy=False)).flatten()
    id_map = torch.from_numpy(numbers).index_select(0, places).view(segment_map.shape).numpy()
    boxes, segments = find_objects(id_map, len(infos)), []
    for number, (info, region) in enumerate(zip(infos, boxes), start=1):
        label = label_of(info['id'])
        segments.append(
            dict(
                id=number,
                label_id=label,
                label=classes[label],
                isthing=label < num_things_classes,
                score=info.get('score'),
                area=info['area'],
                bbox=box_of(region),
            )
        )
    return PanopticResult(
        id_map=id_map,
        segments_info=segments,
        classes=classes,
        num_things_classes=num_things_classes,
        **others,
    )


def _write(path: str | os.PathLike, bgr: np.ndarray) -> None:
    try:
        _, data = cv2.imencode(Path(path).suffix, np.ascontiguousarray(bgr))
    except cv2.error:
        raise UserError(f'{path} has no ending of a picture: name a .png or .jpg file.') from None
    with whole_file(path) as part:
        part.write_bytes(data)
