"""What the pixels of one image and of its panoptic PNG tell."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from scipy import ndimage

from cmt_deeplab.coco_format import VOID_ID, box_of, read_bytes, read_id_plane
from cmt_deeplab.datasets.index_plane import index_plane, present_segments, resize_plane
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import corners_aligned, fitted_size
from cmt_deeplab.panoptic_fields import short
from cmt_deeplab.planes import PlaneRuns

from .files import image_findings, png_findings
from .rules import Finding, found, of_error

SPECKLES, SPECKLE_AREA = 20, 8  # so many unknown ids of so few pixels: no segments of another JSON
MANY_PARTS = 3  # of the one segment of a class, from which on it may be a semantic map
PART_SHARE = 0.1  # of the largest part, from which on another part counts
SMALLEST_PART = 4  # pixels
VOID_SHARE = 0.5  # from which on void is worth a word
HASH_SIDE = 16  # of the small gray picture; its differences are the bits of the perceptual hash


@dataclass
class Measures:
    """What one image adds to the figures of its data set."""

    findings: list[Finding] = field(default_factory=list)
    pixels: int = 0
    void: int = 0  # pixels
    vanished: Counter = field(default_factory=Counter)  # segments by category id
    one_segment: dict[int, bool] = field(default_factory=dict)  # see _looks_semantic
    digest: bytes = b''  # of the bytes of the file
    picture: np.ndarray | None = None  # (32,) uint8, the perceptual hash


def measure(
    record: dict,
    things: frozenset[int],
    *,
    fast: bool,
    stride: int,
    image_size: Sequence[int] | None,
) -> Measures:
    """Examine the files of one image; with ``fast`` only their headers.

    ``things`` are the category ids of things.
    """
    findings, bits = image_findings(record)
    measures = Measures(findings)
    if record['seg_map_path']:
        unusable = png_findings(record)
        findings += unusable
        if not (fast or unusable):
            _measure_plane(record, things, measures, stride, image_size)
    if bits and not fast:
        _measure_image(record['img_path'], bits, measures)
    return measures


def _measure_image(path: str, bits: int, measures: Measures) -> None:
    if bits > 8:
        try:
            LoadImageFromFile().transform(dict(img_path=path))
        except UserError as error:
            measures.findings.append(of_error('PD307', path, error))
            return
    data = read_bytes(path)
    measures.digest = hashlib.blake2b(data, digest_size=16).digest()
    gray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    if gray is None:
        measures.findings.append(found('PD307', path, 'OpenCV cannot decode it.'))
    elif gray.min() == gray.max() and gray.size > 1:
        measures.findings.append(found('PD312', path, f'All pixels are {gray.min()}.'))
    else:
        small = cv2.resize(gray, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA)
        measures.picture = np.packbits(small[:, 1:] > small[:, :-1])


def _measure_plane(
    record: dict,
    things: frozenset[int],
    measures: Measures,
    stride: int,
    image_size: Sequence[int] | None,
) -> None:
    path, segments, add = record['seg_map_path'], record['segments_info'], measures.findings.append
    try:
        ids = read_id_plane(path)
    except UserError as error:
        add(of_error('PD204', path, error))
        return
    listed = np.array([s['id'] for s in segments], np.int64)
    plane, unlisted, absent = index_plane(PlaneRuns.of(ids), listed)
    absent = sorted(absent - {s['id'] for s in segments if s.get('area') == 0})
    if unlisted and absent and set(_swapped(unlisted)) >= {*absent}:
        add(found('PD304', path, f'Id {unlisted[0]} stands for {_swapped(unlisted)[0]}.'))
        return
    unlisted = sorted({*unlisted} - {*record['known_ids']})
    speckled = len(unlisted) > SPECKLES and _median_area(ids, unlisted) <= SPECKLE_AREA
    for rule, wrong, what in (
        ('PD303' if speckled else 'PD301', unlisted, 'ids are not in the JSON'),
        ('PD302', () if speckled else absent, 'ids of the JSON are missing'),
    ):
        if len(wrong):
            first = ', '.join(map(str, wrong[:3]))
            add(found(rule, path, f'{len(wrong)} {what} (first: {first}).'))
    if speckled:
        return
    areas = np.bincount(plane.reshape(-1) + 1, minlength=len(listed) + 1)
    measures.pixels, measures.void = ids.size, int(np.count_nonzero(ids == VOID_ID))
    if measures.void > VOID_SHARE * plane.size and segments:
        add(found('PD309', path, f'{measures.void / plane.size:.0%} of its pixels are void.'))
    boxes = ndimage.find_objects(plane + 1, max_label=len(listed))
    _check_stated(path, segments, areas[1:], boxes, measures.findings)
    measures.one_segment = _looks_semantic(plane, segments, boxes, things)
    size = fitted_size(plane.shape, image_size) if image_size else plane.shape
    aligned = image_size is None or corners_aligned(image_size[0])
    start = 0 if aligned else stride // 2
    small = resize_plane(plane, *size)[start::stride, start::stride]
    for k in np.flatnonzero((areas[1:] > 0) & ~present_segments(small, len(listed))):
        if not segments[k].get('iscrowd'):
            measures.vanished[segments[k]['category_id']] += 1


def _median_area(ids: np.ndarray, some: np.ndarray) -> float:
    values, areas = np.unique(ids, return_counts=True)
    return float(np.median(areas[np.isin(values, some)]))


def _swapped(ids: Sequence[int]) -> list[int]:
    """The ids whose colors have red and blue the other way round."""
    return [(number & 255) << 16 | number & 0xFF00 | number >> 16 for number in ids]


def _check_stated(
    path: str, segments: Sequence[dict], areas: np.ndarray, boxes: list, findings: list[Finding]
) -> None:
    """Compare the areas and boxes that the JSON states with the pixels."""
    wrong = {'PD305': [], 'PD306': []}
    for segment, area, box in zip(segments, areas.tolist(), boxes):
        if box is None:
            continue
        if segment.get('area', area) != area:
            wrong['PD305'].append((segment['id'], segment['area'], area))
        pixels, stated = box_of(box), segment.get('bbox')
        if stated is not None and stated != pixels:
            wrong['PD306'].append((segment['id'], stated, pixels))
    for rule, segments in wrong.items():
        for segment_id, stated, counted in segments[:1]:
            first = f'segment {segment_id} has {short(stated)} in the JSON and {counted} here'
            findings.append(found(rule, path, f'{len(segments)} are wrong (first: {first}).'))


def _looks_semantic(
    plane: np.ndarray, segments: Sequence[dict], boxes: list, things: frozenset[int]
) -> dict[int, bool]:
    """For each category of things: whether it is one segment of several parts of like size."""
    number = Counter(s['category_id'] for s in segments if not s.get('iscrowd'))
    looks = {}
    for k, (segment, box) in enumerate(zip(segments, boxes)):
        category = segment['category_id']
        if category not in things or segment.get('iscrowd') or box is None:
            continue
        looks.setdefault(category, False)
        if number[category] == 1:
            mask = (plane[box] == k).astype(np.uint8)
            *_, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            parts = stats[1:, cv2.CC_STAT_AREA]
            counted = parts >= max(PART_SHARE * parts.max(), SMALLEST_PART)
            looks[category] = bool(counted.sum() >= MANY_PARTS)
    return looks
