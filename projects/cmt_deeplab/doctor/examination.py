"""Examine a data set in the COCO panoptic format and collect every finding."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from cmt_deeplab.own_data import PanopticFolder

from .annotations import Split, compare_classes, read_split
from .files import listing_findings
from .pixels import Measures, measure
from .rules import RULES, SEVERITIES, Finding
from .whole_set import center_findings, class_findings, pixel_findings, repeated_images

DEFAULT_CENTERS = 128  # of the configs of this project


@dataclass(frozen=True)
class Examination:
    """The findings, the worst first; figures for each split; and the rules that were left out."""

    findings: list[Finding]
    figures: dict[str, dict]
    left_out: list[str]


def examine(folder: PanopticFolder, **options) -> list[Finding]:
    """All findings on a data set, the worst first; the options are those of ``examination``."""
    return examination(folder, **options).findings


def examination(
    folder: PanopticFolder,
    *,
    num_centers: int | None = None,
    stride: int = 4,
    image_size: tuple[int, int] | None = None,
    fast: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Examination:
    """Examine a data set.

    Args:
        num_centers: of the model, by default those of our configs.
        stride: of the plane that the model predicts.
        image_size: (height, width) that images are fitted into, by default each image's own.
        fast: read the annotation files and the headers of the others, but no pixels.
        progress: ``progress(done, total)`` is called after each image.
    """
    findings: list[Finding] = []
    sources = [(folder.train, False)] + ([(folder.val, True)] if folder.val else [])
    read = [read_split(source, findings, is_val=is_val) for source, is_val in sources]
    splits = [split for split in read if split]
    findings += listing_findings(splits)
    if len(splits) == 2 and not {'PD103', 'PD107'} & {finding.id for finding in findings}:
        findings += compare_classes(*splits)
    total, done = sum(len(split.records) for split in splits), 0
    measured = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split in splits:
            things = frozenset(i for i, c in split.categories.items() if c['isthing'])
            look = partial(measure, things=things, fast=fast, stride=stride, image_size=image_size)
            measures = []
            for one in pool.map(look, split.records):
                measures.append(one)
                done += 1
                progress(done, total)
            measured.append((split, measures))
    for split, measures in measured:
        findings += [finding for one in measures for finding in one.findings]
        findings += center_findings(split, num_centers or DEFAULT_CENTERS)
        findings += pixel_findings(split, measures, stride)
    if splits and not splits[0].is_val:
        findings += class_findings(splits[0], splits[1] if len(splits) == 2 else None)
    findings += repeated_images(measured)
    order = {severity: k for k, severity in enumerate(SEVERITIES)}
    return Examination(
        sorted(findings, key=lambda f: (order[f.severity], f.id)),
        {split.source.name: _figures(split, measures) for split, measures in measured},
        [rule_id for rule_id, rule in RULES.items() if rule.pixels] if fast else [],
    )


def _figures(split: Split, measures: list[Measures]) -> dict:
    """What a data set is like, for a line of the command."""
    records, classes = split.records, split.content['categories']
    numbers = [len(record['segments_info']) for record in records]
    pixels = sum(m.pixels for m in measures)
    sides = [side for r in records for side in (r['height'], r['width'])]
    return dict(
        images=len(records),
        segments=sum(numbers),
        most_segments=max(numbers, default=0),
        things=sum(bool(c['isthing']) for c in classes),
        stuff=sum(not c['isthing'] for c in classes),
        smallest_side=min(sides, default=0),
        largest_side=max(sides, default=0),
        void=round(sum(m.void for m in measures) / pixels, 4) if pixels else None,
    )
