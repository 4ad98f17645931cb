"""What a training on own data takes from the data: centers, size and stride, kind of the merge."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.ndimage import find_objects

from cmt_deeplab.coco_format import path_below, read_id_plane
from cmt_deeplab.geometry import Size, fitted_size, padded_side
from cmt_deeplab.own_data import PanopticSplit
from cmt_deeplab.panoptic_json import read_panoptic_json
from cmt_deeplab.postprocess.parts import connected_parts

MARGIN = 1.25  # of centers over the most segments of an image: some are to match none
NUM_LOOKED_AT = 50  # images whose segments are measured
SMALLEST_SCALE = 0.5  # of the jitter: what a crop of images at their own scale can show
SEEN_PIXELS = 4  # of the final prediction that a segment needs to be learned
SEEN_SHARE = 0.75  # of the segments that should have as many
COARSE, FINE = 4, 2  # final strides
IN_PARTS = 0.01  # of the things that may have several parts where parts are separated
ENOUGH = 50  # things, below which nothing is said of their parts


@dataclass(frozen=True)
class Choices:
    """What is chosen, and a sentence on each for the terminal."""

    num_centers: int
    image_size: Size
    stride: int
    separate_parts: bool
    sentences: tuple[str, ...]


def choose(
    split: PanopticSplit,
    *,
    num_centers: int,
    side: int,
    align_corners: bool,
    image_size: Size | None = None,
    windows: bool = False,
) -> Choices:
    """What suits the images of a training set.

    Args:
        num_centers: those of the recipe, the least that are taken.
        side: the longer side of the images of the recipe, the most that is taken at first.
        image_size: (height, width) if it is given and not to be chosen.
        windows: whether it is the size of crops and windows of images at their own scale.
    """
    content = read_panoptic_json(str(split.ann_file), needs=('images', 'categories', 'annotations'))
    shapes = [(image['height'], image['width']) for image in content['images']]
    sizes = [image_size]
    if image_size is None:
        first = box_of(shapes, min(side, max(map(max, shapes))), align_corners)
        sizes = [first, box_of(shapes, max(first) * 3 // 2, align_corners)]
    looked_at = segments_looked_at(split, content)
    areas = [(shape, pixels) for shape, pixels, _ in looked_at]
    in_parts = np.concatenate([parts for *_, parts in looked_at] or [[]])
    separate = len(in_parts) >= ENOUGH and in_parts.mean() <= IN_PARTS
    options = [(size, stride) for size in sizes for stride in (COARSE, FINE)]
    shares = [seen_share(areas, size, stride, fitted=not windows) for size, stride in options]
    place = next((k for k, share in enumerate(shares) if share >= SEEN_SHARE), len(options) - 1)
    (size, stride), share = options[place], shares[place]

    shape_of = {image['id']: shape for image, shape in zip(content['images'], shapes)}
    counts = []
    for annotation in content['annotations']:
        number = sum(not segment.get('iscrowd') for segment in annotation['segments_info'])
        pixels = np.prod(shape_of[annotation['image_id']]) * (SMALLEST_SCALE**2 if windows else 0)
        counts.append(ceil(number * min(1.0, np.prod(size) / max(pixels, 1))))
    most, stuff = max(counts, default=0), sum(not c['isthing'] for c in content['categories'])
    needed = int(MARGIN * most + stuff)
    centers = num_centers if needed <= num_centers else ceil(needed / 32) * 32
    few = (
        f', for which the {num_centers} of the recipe are too few' if centers > num_centers else ''
    )
    what = 'Crops and windows' if windows else 'Images'
    how = '' if windows else ', which hold your images in their shape'
    cut = share < SEEN_SHARE and not windows and max(map(max, shapes)) > max(size)
    sentences = (
        f'{centers} cluster centers: {"a crop" if windows else "an image"} has up to {most} '
        f'segments{few}.',
        f'{what} of {size[0]}x{size[1]} pixels (height x width)'
        f'{", as asked for" if image_size else how}.',
        f'Masks at stride {stride}: {share:.0%} of the segments have {SEEN_PIXELS} or more pixels '
        'there' + ('; --windows leaves large images at their own scale.' if cut else '.'),
    )
    if separate:
        sentences += (
            'Each connected part of a predicted thing counts as a thing: of the '
            f'{len(in_parts)} things looked at, {in_parts.sum():.0f} have several parts.',
        )
    return Choices(centers, size, stride, bool(separate), sentences)


def box_of(shapes: Sequence[Size], side: int, align_corners: bool) -> Size:
    """The input (height, width) with ``side`` as its longer side that suits images of ``shapes``.

    It has the shape of the images where they are alike, and is a square otherwise.
    """
    ratios = np.array([height / width for height, width in shapes])
    ratio = float(np.median(ratios)) if ratios.max() <= 1 or ratios.min() >= 1 else 1.0
    height, width = side * min(ratio, 1), side * min(1 / ratio, 1)
    return tuple(padded_side(round(edge), align_corners=align_corners) for edge in (height, width))


def segments_looked_at(
    split: PanopticSplit, content: dict
) -> list[tuple[Size, np.ndarray, np.ndarray]]:
    """Of some images, evenly spread over the list: size, pixels of the segments, things in parts.

    The third is an array with 1 for each thing that has several connected parts, and 0 for others.
    """
    annotations = [each for each in content['annotations'] if each['segments_info']]
    things = {category['id'] for category in content['categories'] if category['isthing']}
    step = -(-len(annotations) // NUM_LOOKED_AT) or 1
    found = []
    for annotation in annotations[::step]:
        path = path_below(str(split.seg_dir), annotation['file_name'], str(split.ann_file))
        ids = read_id_plane(path)
        values, counts = np.unique(ids, return_counts=True)
        pixels = Counter(dict(zip(values.tolist(), counts)))
        place = np.zeros(int(values[-1]) + 1, np.int32)  # a table, as the inverse is slow to sort
        place[values] = np.arange(1, len(values) + 1)
        window_of = dict(zip(values.tolist(), find_objects(place[ids])))
        segments = [s for s in annotation['segments_info'] if not s.get('iscrowd')]
        parts = [
            np.count_nonzero(connected_parts(ids[window_of[s['id']]] == s['id'])[1]) > 1
            for s in segments
            if s['category_id'] in things and s['id'] in window_of
        ]
        areas = np.array([pixels[segment['id']] for segment in segments], float)
        found.append((ids.shape, areas, np.array(parts, float)))
    return found


def seen_share(
    areas: Sequence[tuple[Size, np.ndarray]], size: Size, stride: int, *, fitted: bool
) -> float:
    """The share of segments with ``SEEN_PIXELS`` in a prediction at ``stride``.

    Images are ``fitted`` into ``size`` or keep their own scale.
    """
    seen = []
    for shape, pixels in areas:
        zoom = np.prod(fitted_size(shape, size)) / np.prod(shape) if fitted else 1.0
        seen.append(pixels * (zoom / stride**2) >= SEEN_PIXELS)
    seen = np.concatenate(seen or [[]])
    return float(seen.mean()) if len(seen) else 1.0
