"""What the names and the headers of files tell, without a pixel."""

import os
import os.path as osp
from collections.abc import Iterator, Sequence

from mmcv.transforms import LoadImageFromFile

from cmt_deeplab.datasets.load_image import check_header
from cmt_deeplab.datasets.load_panoptic_index_map import check_png_size
from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import check_image_file, panoptic_png_problem

from .annotations import Split
from .rules import Finding, found, of_error

HUGE = 25e6  # pixels; a camera of 24 million gives 6000 x 4000
GRAY, ALPHA = ('1', 'L', 'LA', 'P', 'PA', 'I;16'), ('LA', 'PA', 'RGBA', 'RGBa')  # Pillow's modes


def listing_findings(splits: Sequence[Split]) -> Iterator[Finding]:
    """Files that are missing, and files that no annotation names; each folder is read once.

    A record whose files are missing leaves its split.
    """
    named = set().union(*(split.named for split in splits))
    for key, missing, orphan, kind in (
        ('img_path', 'PD201', 'PD214', 'images'),
        ('seg_map_path', 'PD202', 'PD215', 'PNGs'),
    ):
        paths = {r[key] for split in splits for r in split.records if r[key]}
        endings, present = {osp.splitext(path)[1].lower() for path in paths}, set()
        for folder in {osp.dirname(path) for path in paths}:
            files = {osp.join(folder, name) for name in _files_in(folder)}
            others = sorted(f for f in files - named if osp.splitext(f)[1].lower() in endings)
            if others:
                first = osp.basename(others[0])
                message = f'{len(others)} {kind} are in no annotation file (first: {first}).'
                yield found(orphan, folder, message)
            present |= files
        alike = {osp.splitext(path)[0].casefold(): path for path in present}
        for split in splits:
            lost = [r for r in split.records if r[key] and r[key] not in present]
            for record in lost:
                other = alike.get(osp.splitext(record[key])[0].casefold())
                remedy = f'There is {other}: correct the "file_name".' if other else ''
                message = f'{split.source.ann_file} names it, but it is not there.'
                yield found(missing, record[key], message, remedy=remedy)
            gone = {id(record) for record in lost}
            split.records = [record for record in split.records if id(record) not in gone]


def _files_in(folder: str) -> list[str]:
    if not osp.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file()]


def image_findings(record: dict) -> tuple[list[Finding], int]:
    """What the header of an image tells, and its bits per color; 0 where it cannot be used."""
    path, findings = record['img_path'], []
    try:
        header = check_image_file(path)
    except UserError as error:
        return [of_error('PD203', path, error)], 0
    try:
        check_header(header, record, LoadImageFromFile())
    except UserError as error:
        sides = sorted(header.size) == sorted((record['height'], record['width']))
        turned = sides and header.orientation != 1
        findings.append(of_error('PD209' if turned else 'PD207', path, error))
    bits, (height, width) = header.bits, header.size
    form = 'of a palette' if 'P' in header.mode else 'gray'
    for rule, applies, message in (
        ('PD210', 8 < bits <= 16, f'It has {bits} bits per color.'),
        ('PD307', bits > 16, f'It has {bits} bits per color.'),
        ('PD211', header.mode in GRAY, f'It is {form}.'),
        ('PD212', header.mode in ALPHA, 'It has an alpha channel.'),
        ('PD213', height * width > HUGE, f'It has {width} x {height} pixels.'),
    ):
        if applies:
            findings.append(found(rule, path, message))
    return findings, bits if bits <= 16 else 0


def png_findings(record: dict) -> list[Finding]:
    """What the header of a panoptic PNG tells."""
    path = record['seg_map_path']
    try:
        header = check_image_file(path, kind='panoptic PNG')
    except UserError as error:
        return [of_error('PD204', path, error)]
    if header.format != 'PNG':
        why = panoptic_png_problem(header) or 'may change the colors that are segment ids: give PNG'
        return [of_error('PD205', path, f'{header.format}: it {why}')]
    if unfit := panoptic_png_problem(header):
        return [of_error('PD206', path, f'It {unfit}')]
    try:
        check_png_size(header.size_read(turning=False), record)
    except UserError as error:
        return [of_error('PD208', path, error)]
    return []
