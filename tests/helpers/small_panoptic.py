"""A small panoptic data set without a fault, and what changes one of its files."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from cmt_deeplab.coco_format import colors_of_ids
from cmt_deeplab.own_data import PanopticFolder, PanopticSplit

HEIGHT, WIDTH = 48, 64
CATEGORIES = [
    dict(id=1, name='cell', isthing=1, color=[200, 30, 30]),
    dict(id=2, name='worm', isthing=1, color=[30, 200, 30]),
    dict(id=3, name='tissue', isthing=0, color=[30, 30, 200]),
    dict(id=4, name='glass', isthing=0, color=[90, 90, 90]),
]
BOXES = {301: (1, 4, 4), 302: (1, 20, 30), 70000: (2, 30, 8)}  # id: category, top, left


def plane_of_ids() -> np.ndarray:
    """(H, W) of ids: glass on the left, tissue on the right, and on them three things."""
    plane = np.full((HEIGHT, WIDTH), 9)
    plane[:, WIDTH // 2 :] = 8
    for number, (_, top, left) in BOXES.items():
        plane[top : top + 10, left : left + 12] = number
    return plane


def segments_of(plane: np.ndarray) -> list[dict]:
    segments = []
    for number in np.unique(plane[plane > 0]).tolist():
        category = {9: 4, 8: 3}.get(number) or BOXES[number][0]
        y, x = np.nonzero(plane == number)
        left, top = int(x.min()), int(y.min())
        box = [left, top, int(x.max()) - left + 1, int(y.max()) - top + 1]
        segments.append(dict(id=number, category_id=category, iscrowd=0, area=len(x), bbox=box))
    return segments


def write_ids(path: Path, plane: np.ndarray) -> None:
    cv2.imwrite(str(path), np.ascontiguousarray(colors_of_ids(plane)[..., ::-1]))


def write_panoptic(root: Path, *, train: int = 3, val: int = 2) -> Path:
    """Write the data set in COCO's layout, with the images 1.png, 2.png ... all different."""
    generator, number = np.random.default_rng(0), 0
    for split, images in dict(train=train, val=val).items():
        name, content = f'{split}2017', dict(images=[], annotations=[], categories=CATEGORIES)
        png_folder = root / f'annotations/panoptic_{name}'
        (root / name).mkdir(parents=True)
        png_folder.mkdir(parents=True)
        for _ in range(images):
            number += 1
            plane, file_name = plane_of_ids(), f'{number}.png'
            noise = generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            cv2.imwrite(str(root / name / file_name), noise)
            write_ids(png_folder / file_name, plane)
            image = dict(id=number, file_name=file_name, height=HEIGHT, width=WIDTH)
            content['images'].append(image)
            content['annotations'].append(
                dict(image_id=number, file_name=file_name, segments_info=segments_of(plane))
            )
        png_folder.with_suffix('.json').write_text(json.dumps(content))
    return root


def folder_of(root: Path) -> PanopticFolder:
    """The data set, without validation where it has no annotation file for it."""
    splits = [
        PanopticSplit(name, file, root / name, file.with_suffix(''))
        for name in ('train2017', 'val2017')
        for file in [root / f'annotations/panoptic_{name}.json']
    ]
    return PanopticFolder(root, splits[0], splits[1] if splits[1].ann_file.exists() else None)


def change_json(root: Path, change: Callable[[dict], object], split: str = 'train') -> None:
    """Let ``change`` change the content of an annotation file."""
    path = root / f'annotations/panoptic_{split}2017.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
