"""The generated scenes, and two copies of them whose images say where each pixel comes from."""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from cmt_deeplab.coco_format import read_id_plane
from cmt_deeplab.datasets import write_shapes
from cmt_deeplab.datasets.shape_forms import STUFF_CLASSES, THING_CLASSES

NUM_TRAIN, NUM_VAL = 6, 2
STEP = 2  # gray levels per pixel of a coordinate
IMAGE_STEP = 20  # gray levels per image
# training images by id that are cut to these (height, width), so that sides differ
SIZES = {1: (96, 72), 2: (72, 96), 3: (96, 80), 4: (80, 96)}


def write_data(root: Path) -> None:
    """``scenes``, ``coordinates`` and ``segments`` below ``root``, each with data/shapes in it.

    The images of ``coordinates`` hold, as (R, G, B), twice the column, twice the row and the
    number of the image; those of ``segments`` one random color per segment.
    """
    for kind in ('scenes', 'coordinates', 'segments'):
        shapes = root / kind / 'data/shapes'
        write_shapes(shapes, preset='quick', num_train=NUM_TRAIN, num_val=NUM_VAL, seed=7)
        (root / kind / 'data/coco').symlink_to('shapes')
        torch.save({'layer9.weight': torch.zeros(3)}, root / kind / 'data/other.pth')
        _cut(shapes)
        if kind != 'scenes':
            _paint(shapes / 'train2017', shapes / 'annotations/panoptic_train2017', kind)


def source_planes(root: Path) -> tuple[list[np.ndarray], list[dict[int, int]]]:
    """Id plane and category by id of each training image, in the order of their numbers."""
    annotations = root / 'scenes/data/shapes/annotations'
    content = json.loads((annotations / 'panoptic_train2017.json').read_text())
    planes = [
        read_id_plane(str(annotations / 'panoptic_train2017' / entry['file_name']))
        for entry in content['annotations']
    ]
    names = [*THING_CLASSES, *STUFF_CLASSES]
    label = {category['id']: names.index(category['name']) for category in content['categories']}
    classes = [
        {segment['id']: label[segment['category_id']] for segment in entry['segments_info']}
        for entry in content['annotations']
    ]
    return planes, classes


def _cut(shapes: Path) -> None:
    path = shapes / 'annotations/panoptic_train2017.json'
    content = json.loads(path.read_text())
    for image, annotation in zip(content['images'], content['annotations']):
        if image['id'] not in SIZES:
            continue
        height, width = image['height'], image['width'] = SIZES[image['id']]
        for folder in (shapes / 'train2017', path.with_suffix('')):
            file = str(folder / image['file_name'])
            cv2.imwrite(file, cv2.imread(file)[:height, :width])
        ids = read_id_plane(str(path.with_suffix('') / image['file_name']))
        present = set(np.unique(ids).tolist())
        annotation['segments_info'] = [
            segment for segment in annotation['segments_info'] if segment['id'] in present
        ]
        for segment in annotation['segments_info']:
            segment['area'] = int((ids == segment['id']).sum())
            segment['bbox'] = list(cv2.boundingRect((ids == segment['id']).astype(np.uint8)))
    path.write_text(json.dumps(content))


def _paint(images: Path, truth: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    for number, file in enumerate(sorted(images.glob('*.png'))):
        ids = read_id_plane(str(truth / file.name))
        if kind == 'coordinates':
            row, column = np.indices(ids.shape)
            blue = np.full_like(row, IMAGE_STEP * number + IMAGE_STEP // 2)
            image = np.stack([blue, STEP * row, STEP * column], -1)
        else:
            _, index = np.unique(ids, return_inverse=True)
            colors = random.integers(20, 236, (index.max() + 1, 3))
            image = colors[index.reshape(ids.shape)]
        cv2.imwrite(str(file), image.astype(np.uint8))
