"""Generated scenes written in the layouts that people have, to be read back by own_data."""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from cmt_deeplab.coco_format import read_id_plane
from PIL import Image
from pycocotools import mask as coco_mask


@dataclass
class LabeledScene:
    """An image and its segments, each a mask (H, W) bool with class, kind and whether a crowd."""

    name: str
    pixels: np.ndarray
    segments: list[tuple[str, bool, bool, np.ndarray]]

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[:2]

    def things(self) -> list[tuple[str, np.ndarray]]:
        return [(name, mask) for name, thing, crowd, mask in self.segments if thing and not crowd]


def scenes_of(root: Path, split: str = 'train2017') -> list[LabeledScene]:
    """The scenes that ``write_shapes`` wrote."""
    content = json.loads((root / f'annotations/panoptic_{split}.json').read_text())
    classes = {c['id']: (c['name'], bool(c['isthing'])) for c in content['categories']}
    scenes = []
    for annotation in content['annotations']:
        name = annotation['file_name']
        ids = read_id_plane(str(root / f'annotations/panoptic_{split}' / name))
        segments = [
            (*classes[s['category_id']], bool(s['iscrowd']), ids == s['id'])
            for s in annotation['segments_info']
        ]
        pixels = np.asarray(Image.open(root / split / name))
        scenes.append(LabeledScene(Path(name).stem, pixels, segments))
    return scenes


def parts(segments: Sequence[tuple[str, bool, bool, np.ndarray]]) -> list:
    """Segments in an order of their own, as what can be compared; stuff and crowds are one each."""
    joined = {}
    for k, (name, thing, crowd, mask) in enumerate(segments):
        key = (name, thing, crowd, k if thing and not crowd else -1)
        joined[key] = joined.get(key, False) | mask
    return sorted(
        (name, thing, crowd, np.packbits(mask).tobytes())
        for (name, thing, crowd, _), mask in joined.items()
        if mask.any()
    )


def read_back(split) -> dict[str, list]:
    """The parts of every image of a PanopticSplit, by its stem or its folder."""
    content = json.loads(split.ann_file.read_text())
    classes = {c['id']: (c['name'], bool(c['isthing'])) for c in content['categories']}
    files = {image['id']: split.img_dir / image['file_name'] for image in content['images']}
    read = {}
    for annotation in content['annotations']:
        ids = read_id_plane(str(split.seg_dir / annotation['file_name']))
        listed = annotation['segments_info']
        assert {s['id'] for s in listed} == {*np.unique(ids).tolist()} - {0}
        for s in listed:
            ys, xs = np.nonzero(ids == s['id'])
            assert s['area'] == len(ys)
            assert s['bbox'] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        file = files[annotation['image_id']]
        assert file.is_file()
        read[file.parent.name if file.stem in ('image', 'img') else file.stem] = parts(
            [(*classes[s['category_id']], bool(s['iscrowd']), ids == s['id']) for s in listed]
        )
    return read


def with_background(scene: LabeledScene, name: str | None = None, crowds: bool = False) -> list:
    """Its things, in one class if it is named, and the class background everywhere else."""
    kept = [
        (name or c, True, crowd, mask)
        for c, thing, crowd, mask in scene.segments
        if thing and (crowds or not crowd)
    ]
    covered = np.any([mask for *_, mask in kept], axis=0) if kept else np.zeros(scene.size, bool)
    return parts([*kept, ('background', False, False, ~covered)])


def write_images(folder: Path, scenes: Sequence[LabeledScene], suffix: str = '.png') -> None:
    for scene in scenes:
        save(folder / f'{scene.name}{suffix}', scene.pixels)


def save(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def instance_ids(scene: LabeledScene, dtype: type = np.uint16) -> np.ndarray:
    ids = np.zeros(scene.size, dtype)
    for k, (_, mask) in enumerate(scene.things(), start=1):
        ids[mask] = k
    return ids


def class_values(scene: LabeledScene, classes: Sequence[str]) -> np.ndarray:
    """The place of the class of each pixel, from 1; 0 is void."""
    values = np.zeros(scene.size, np.uint8)
    for name, _, _, mask in scene.segments:
        values[mask] = classes.index(name) + 1
    return values


def row_polygons(mask: np.ndarray) -> Iterator[list[float]]:
    """Rectangles along the edges of pixels, one for each run of a row."""
    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(row.astype(int), prepend=0, append=0)).tolist()
        for x0, x1 in zip(edges[::2], edges[1::2]):
            yield [x0, y, x1, y, x1, y + 1, x0, y + 1]


def write_coco_instances(
    file: Path, scenes: Sequence[LabeledScene], *, polygons: bool, suffix: str = '.png'
) -> None:
    names = sorted({name for s in scenes for name, thing, *_ in s.segments if thing})
    images, annotations = [], []
    for k, scene in enumerate(scenes):
        height, width = scene.size
        name = f'{scene.name}{suffix}'
        images.append(dict(id=k, file_name=name, height=height, width=width))
        for name, thing, crowd, mask in scene.segments:
            if thing:
                runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                runs['counts'] = runs['counts'].decode()
                shape = [*row_polygons(mask)] if polygons and not crowd else runs
                annotations.append(
                    dict(id=len(annotations), image_id=k, category_id=names.index(name),
                         iscrowd=int(crowd), segmentation=shape)
                )  # fmt: skip
    categories = [dict(id=k, name=name) for k, name in enumerate(names)]
    dump(file, dict(images=images, annotations=annotations, categories=categories))


def write_labelme(folder: Path, scenes: Sequence[LabeledScene], *, embedded: bool) -> None:
    for scene in scenes:
        shapes = []
        for k, (name, _, _, mask) in enumerate(scene.segments):
            for polygon in row_polygons(mask):
                points = np.reshape(polygon, (-1, 2)).tolist()
                shapes.append(dict(label=name, points=points, group_id=k, shape_type='polygon'))
        data = None
        if embedded:
            file = io.BytesIO()
            Image.fromarray(scene.pixels).save(file, 'PNG')
            data = base64.b64encode(file.getvalue()).decode()
        else:
            save(folder / f'{scene.name}.png', scene.pixels)
        height, width = scene.size
        dump(folder / f'{scene.name}.json', dict(
            version='5.4.1', flags={}, shapes=shapes, imagePath=f'..\\x\\{scene.name}.png',
            imageData=data, imageHeight=height, imageWidth=width))  # fmt: skip


def write_cvat(file: Path, scenes: Sequence[LabeledScene], *, polygons: bool) -> None:
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    for k, scene in enumerate(scenes):
        height, width = scene.size
        image = ElementTree.SubElement(
            root, 'image', id=str(k), name=f'{scene.name}.png', width=str(width), height=str(height)
        )
        for group, (name, _, _, mask) in enumerate(scene.segments, start=1):
            if polygons:
                for outline in row_polygons(mask):
                    pairs = np.reshape(outline, (-1, 2)).tolist()
                    points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in pairs)
                    ElementTree.SubElement(image, 'polygon', label=name, points=points, z_order='0',
                                           group_id=str(group))  # fmt: skip
            else:
                ys, xs = np.nonzero(mask)
                box = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
                edges = np.flatnonzero(np.diff(box.ravel().astype(int), prepend=0))
                runs = np.diff([0, *edges, box.size])
                ElementTree.SubElement(
                    image, 'mask', label=name, rle=', '.join(map(str, runs)), left=str(xs.min()),
                    top=str(ys.min()), width=str(box.shape[1]), height=str(box.shape[0]),
                    z_order='0',
                )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(file, encoding='utf-8', xml_declaration=True)


def brush_code(mask: np.ndarray) -> list[int]:
    """Run lengths as Label Studio's brush writes them; lengths of 16 bits, runs of one value."""
    pixels = np.repeat(mask.ravel() * 255, 4)
    bits = [f'{len(pixels):032b}', f'{7:05b}', *[f'{15:04b}'] * 4]
    edges = [0, *(np.flatnonzero(np.diff(pixels)) + 1).tolist(), len(pixels)]
    for start, end in zip(edges, edges[1:]):
        if end - start == 4:  # one pixel, as words that are not repeated
            bits.append('0' + f'{1:02b}' + f'{3:016b}' + f'{pixels[start]:08b}' * 4)
            continue
        while start < end:
            count = min(end - start, 1 << 16)
            bits.append('1' + f'{2:02b}' + f'{count - 1:016b}' + f'{pixels[start]:08b}')
            start += count
    text = ''.join(bits)
    text += '0' * (-len(text) % 8)
    return [int(text[k : k + 8], 2) for k in range(0, len(text), 8)]


def write_label_studio(file: Path, scenes: Sequence[LabeledScene], *, minimal: bool) -> None:
    tasks = []
    for k, scene in enumerate(scenes):
        height, width = scene.size
        name = f'/data/upload/1/0a1b2c3d-{scene.name}.png'
        size = dict(original_width=width, original_height=height, image_rotation=0)
        drawn = [
            dict(format='rle', rle=brush_code(mask), brushlabels=[name])
            for name, _, _, mask in scene.segments
        ]
        if minimal:
            tasks.append(dict(id=k, image=name, tag=[dict(size, **value) for value in drawn]))
        else:
            result = [dict(size, type='brushlabels', value=value) for value in drawn]
            tasks.append(dict(id=k, data=dict(image=name),
                              annotations=[dict(result=result, was_cancelled=False)]))  # fmt: skip
    dump(file, tasks)
