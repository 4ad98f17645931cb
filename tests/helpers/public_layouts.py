"""Small data sets in the formats of public ones, with two images or so in each split."""

import json
from pathlib import Path

import cv2
import numpy as np
from small_panoptic import plane_of_ids, write_panoptic

SIZE = 48, 64


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_image(path: Path) -> None:
    generator = np.random.default_rng(list(str(path).encode()))
    write(path, generator.integers(0, 256, (*SIZE, 3), np.uint8))


def write_ade20k(root: Path) -> Path:
    """A wall (1) with a sky (3), on them two beds (thing 1) and a person (4); a bed uncounted."""
    for folder in ('training', 'validation'):
        name = f'ADE_{folder}_00000001'
        write_image(root / 'images' / folder / f'{name}.jpg')
        semantic = np.full(SIZE, 1, np.uint8)
        semantic[:20] = 3
        semantic[30:, :40] = 8  # beds
        semantic[22:28, 50:60] = 13  # a person
        semantic[0, 0] = 0
        instances = np.zeros((*SIZE, 3), np.uint8)  # B, G, R: nothing, number, class
        instances[30:, :10] = 0, 1, 1
        instances[30:, 10:20] = 0, 2, 1
        instances[22:28, 50:60] = 0, 3, 4
        write(root / 'annotations' / folder / f'{name}.png', semantic)
        write(root / 'annotations_instance' / folder / f'{name}.png', instances)
    return root


def write_cityscapes(root: Path) -> Path:
    """Road (7), two cars (26), cars without numbers, and the own car (1), which does not count."""
    for split, cities in dict(train=('aachen', 'bochum'), val=('lindau',)).items():
        for city in cities:
            name = f'{city}_000000_000019'
            write_image(root / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png')
            ids = np.full(SIZE, 7, np.uint16)
            ids[:8, :8], ids[:8, 20:30], ids[20:30, 20:40], ids[40:] = 26000, 26001, 26, 1
            write(root / 'gtFine' / split / city / f'{name}_gtFine_instanceIds.png', ids)
    return root


def write_coconut(root: Path) -> Path:
    """As download_coconut.py writes it: small ids, the name of the .jpg, no boxes, areas as float.

    The PNG of the second image is gray.
    """
    source = root / 'source'
    write_panoptic(source, train=2, val=1)
    for split, name in (('train2017', 'coconut_s'), ('val2017', 'relabeled_coco_val')):
        content = json.loads((source / f'annotations/panoptic_{split}.json').read_text())
        coco = dict(zip((1, 2, 3, 4), (1, 2, 187, 193)))
        kinds = [(1, 'person', 1), (2, 'bicycle', 1)]
        kinds += [(187, 'sky-other-merged', 0), (193, 'grass-merged', 0)]
        content['categories'] = [dict(id=i, name=n, isthing=k) for i, n, k in kinds]
        (root / name).mkdir()
        for k, annotation in enumerate(content['annotations']):
            small = {i: j for j, i in enumerate(np.unique(plane_of_ids()).tolist(), start=1)}
            plane = np.vectorize(small.get)(plane_of_ids()).astype(np.uint8)
            black = np.zeros_like(plane)
            pixels = plane if k == 1 else np.dstack([black, black, plane])
            write(root / name / annotation['file_name'], pixels)
            annotation['file_name'] = Path(annotation['file_name']).with_suffix('.jpg').name
            for segment in annotation['segments_info']:
                del segment['bbox']
                segment.update(
                    id=small[segment['id']],
                    area=float(segment['area']),
                    category_id=coco[segment['category_id']],
                    isthing=int(segment['category_id'] < 3),
                )
        (root / f'{name}.json').write_text(json.dumps(content))
    return root
