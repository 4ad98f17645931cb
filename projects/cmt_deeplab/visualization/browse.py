"""Pictures of a data set as a model reads it: after all transforms of its pipeline."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import Compose, LoadAnnotations
from mmdet.datasets.transforms import PackDetInputs
from mmdet.models.utils import mask2ndarray
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import BaseBoxes
from mmengine.config import Config
from mmengine.runner import set_random_seed

from cmt_deeplab.coco_format import label_of, map_value
from cmt_deeplab.datasets.packing import PackPanopticInputs
from cmt_deeplab.datasets.pipeline_check import LOADERS
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize_image

from .beside import draw_beside
from .drawer import PanopticDrawer
from .local_visualizer import PanopticLocalVisualizer, crowds_of, map_of

CELL = 640, 560  # width and height that a picture is reduced to on a contact sheet


def browsed(
    config: Config, *, split: str = 'train', number: int = 24, original: bool = False
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and RGB pictures of ``number`` images, spread evenly over a split.

    A picture has the image and its truth as the pipeline of ``split`` gives them to the model, void
    and crowds included. With ``original`` the image as it is in its file stands above. Random
    transforms draw by the seed of the config, or 0.

    Raises:
        UserError: the config has no such data.
    """
    loader = config.get(f'{split}_dataloader')
    if not loader:
        raise UserError(f'The config has no {split}_dataloader: take another --split.')
    dataset = DATASETS.build(loader.dataset)
    visualizer = PanopticLocalVisualizer()
    visualizer.dataset_meta = dataset.metainfo
    set_random_seed((config.get('randomness') or {}).get('seed') or 0)
    chosen = np.linspace(0, len(dataset) - 1, min(number, len(dataset)))
    for i in chosen.round().astype(int).tolist():
        packed = dataset[i]
        path = Path(packed['data_samples'].get('img_path', 'image'))
        picture = _picture(packed, visualizer, f'{i}: {path.name}, as the model sees it')
        if original:
            above = _picture(_loaded(dataset, i), visualizer, f'{i}: {path.name}, as it is')
            picture = _stacked([above, picture])
        yield f'{i}_{path.stem}', picture


def _loaded(dataset: Any, index: int) -> dict:
    """A packed sample that nothing but loading has changed."""
    inner = dataset
    while not hasattr(getattr(inner, 'pipeline', None), 'transforms'):  # one that wraps others
        inner = inner.datasets[0] if hasattr(inner, 'datasets') else inner.dataset
    steps = [s for s in inner.pipeline.transforms if isinstance(s, (LoadAnnotations, *LOADERS))]
    planes = isinstance(inner.pipeline.transforms[-1], PackPanopticInputs)
    pack = PackPanopticInputs(crowd_as_void=False) if planes else PackDetInputs()
    return Compose([*steps, pack])(getattr(dataset, 'get_data_info', inner.get_data_info)(index))


def _picture(packed: dict, visualizer: PanopticLocalVisualizer, name: str) -> np.ndarray:
    """Image and truth of a packed sample side by side, or as mmdet draws other kinds of truth."""
    sample = packed['data_samples']
    height, width = sample.get('img_shape', packed['inputs'].shape[-2:])[:2]
    image = packed['inputs'].permute(1, 2, 0).numpy()[:height, :width, ::-1]  # BGR
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    instances = sample.get('gt_instances', {})
    if 'gt_panoptic_seg' in sample or ('gt_sem_seg' in sample and 'masks' in instances):
        drawer = visualizer.comparing_drawer()
        truth, crowds = panoptic_truth(sample, drawer)
        image = resize_image(image, *truth.shape)  # that of an evaluation has the original size
        return draw_beside(image, truth, None, drawer=drawer, crowds=crowds, name=name)
    if isinstance(instances.get('bboxes'), BaseBoxes):
        instances.bboxes = instances.bboxes.tensor
    if 'masks' in instances:
        instances.masks = mask2ndarray(instances.masks).astype(bool)
    visualizer.add_datasample(name, image, sample.numpy(), draw_pred=False)
    return visualizer.get_image()


def panoptic_truth(sample: DetDataSample, drawer: PanopticDrawer) -> tuple[np.ndarray, list[int]]:
    """The true map (H, W) of values of ``map_value`` and the segments of it that are crowds.

    It is made of the index plane, or of mmdet's masks and class map. There a pixel of a thing class
    that lies in no mask is of a crowd.
    """
    if 'gt_panoptic_seg' in sample:
        return map_of(sample.gt_panoptic_seg), crowds_of(sample)
    truth = sample.gt_sem_seg.sem_seg[0].numpy().astype(np.int64)
    truth = np.minimum(truth, len(drawer.classes))  # 255 and more are void
    instances = sample.gt_instances
    masks = mask2ndarray(instances.masks) if len(instances) else ()
    for k, (mask, label) in enumerate(zip(masks, instances.labels.tolist()), start=1):
        truth[mask > 0] = map_value(label, k)
    ids = np.unique(truth)
    return truth, ids[(ids == label_of(ids)) & (ids < drawer.num_things_classes)].tolist()


def _on_white(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    missing = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=255)


def _stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of any width below each other."""
    width = max(picture.shape[1] for picture in pictures)
    return np.vstack([_on_white(picture, len(picture), width) for picture in pictures])


def contact_sheet(pictures: Sequence[np.ndarray], columns: int = 3, gap: int = 12) -> np.ndarray:
    """All pictures in rows on one, each reduced to a cell."""
    cells, rows = [], []
    for picture in pictures:
        scale = min(1, CELL[0] / picture.shape[1], CELL[1] / picture.shape[0])
        size = (max(1, round(side * scale)) for side in picture.shape[:2])
        cells.append(resize_image(picture, *size, cv2.INTER_AREA))
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        height = max(map(len, row)) + gap
        rows.append(np.hstack([_on_white(cell, height, CELL[0] + gap) for cell in row]))
    return _stacked(rows)
