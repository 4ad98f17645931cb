"""What an annotation file tells by itself, without any other file."""

import os.path as osp
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from mmdet.datasets import CocoPanopticDataset

from cmt_deeplab.categories import class_list, class_of, first_difference
from cmt_deeplab.coco_format import check_num_classes, path_below
from cmt_deeplab.datasets.index_plane import MAX_SEGMENTS
from cmt_deeplab.errors import UserError
from cmt_deeplab.own_data import PanopticSplit
from cmt_deeplab.own_data.class_names import VOID_NAMES
from cmt_deeplab.panoptic_fields import FIELDS, Problem
from cmt_deeplab.panoptic_json import json_problems, parse_panoptic_json
from cmt_deeplab.remarks import json_remarks

from .rules import Finding, found, of_error

OF_PART = dict(images='PD102', categories='PD103', annotations='PD104', segments_info='PD105')


@dataclass
class Split:
    """The sound part of an annotation file, and a record for each image that has its truth."""

    source: PanopticSplit
    is_val: bool
    content: dict
    named: set[str]  # the paths of all files that are named, also by faulty entries
    records: list[dict] = field(default_factory=list)  # as those of PanopticIndexDataset

    @cached_property
    def categories(self) -> dict[int, dict]:
        return {category['id']: category for category in self.content['categories']}

    def class_counts(self) -> Counter:
        """How many segments but crowds each class has."""
        names = self.categories
        segments = (s for record in self.records for s in record['segments_info'])
        return Counter(class_of(names[s['category_id']]) for s in segments if not s.get('iscrowd'))


def read_split(source: PanopticSplit, findings: list[Finding], *, is_val: bool) -> Split | None:
    """Read an annotation file and add what is wrong with it; None where it cannot be read."""
    path = str(source.ann_file)
    try:
        content = parse_panoptic_json(path)
        named, ids = _named(content, source), _segment_ids(content)
        needs = ('images', 'categories', 'annotations')
        findings += [
            of_error(_rule_of(problem), path, problem.sentence)
            for problem in json_problems(content, path, needs=needs)
        ]
    except UserError as error:
        findings.append(of_error('PD101', path, error))
        return None
    split = Split(source, is_val, content, named)
    for annotation in content['annotations']:  # a faulty category is told once
        listed = annotation['segments_info']
        listed[:] = [s for s in listed if s['category_id'] in split.categories]
    findings += _records(split, ids)
    findings += _categories(split)
    findings += _segments(split)
    return split


def _entries(content: dict, part: str) -> list[dict]:
    """The entries of a list that is not checked yet."""
    entries = content.get(part)
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _named(content: dict, source: PanopticSplit) -> set[str]:
    folders = dict(images=source.img_dir, annotations=source.seg_dir)
    return {
        osp.join(str(folder), entry['file_name'])
        for part, folder in folders.items()
        for entry in _entries(content, part)
        if isinstance(entry.get('file_name'), str)
    }


def _segment_ids(content: dict) -> dict[str, list]:
    """The ids of all segments, also of faulty ones, by the text of the image id."""
    return {
        str(annotation.get('image_id')): [
            s.get('id') for s in _entries(annotation, 'segments_info')
        ]
        for annotation in _entries(content, 'annotations')
    }


def _rule_of(problem: Problem) -> str:
    if problem.twice:
        return 'PD107' if problem.part == 'categories' else 'PD106'
    by_field = dict(segments_info={'category_id': 'PD108'}, annotations={'image_id': 'PD109'})
    return by_field.get(problem.part, {}).get(problem.field, OF_PART[problem.part])


def _records(split: Split, ids: dict[str, list]) -> Iterator[Finding]:
    """Pair images and annotations, and tell which have no partner or name a file again."""
    path, source = split.source.ann_file, split.source
    annotations = {entry['image_id']: entry for entry in split.content['annotations']}
    seen, is_id = {}, FIELDS['segments_info']['id'].fits
    for image in split.content['images']:
        annotation = annotations.get(image['id'])
        named = [('img_path', source.img_dir, image['file_name'])]
        if annotation is None:
            rule = 'PD110' if split.is_val else 'PD111'
            yield found(
                rule, path, f'Image {image["id"]} ({image["file_name"]}) has no annotation.'
            )
        else:
            named.append(('seg_map_path', source.seg_dir, annotation['file_name']))
        record = dict(
            img_id=image['id'],
            height=image['height'],
            width=image['width'],
            seg_map_path=None,
            segments_info=annotation['segments_info'] if annotation else [],
            known_ids=[i for i in ids.get(str(image['id']), ()) if is_id(i)],
        )
        for key, folder, name in named:
            try:
                record[key] = path_below(str(folder), name, str(path))
            except UserError as error:
                yield of_error('PD112', path, error)
                break
            first = seen.setdefault(record[key], image['id'])
            if first != image['id']:
                yield found('PD113', path, f'Images {first} and {image["id"]} both name {name}.')
        else:
            split.records.append(record)


def _categories(split: Split) -> Iterator[Finding]:
    path, categories = split.source.ann_file, split.content['categories']
    try:
        check_num_classes(len(categories), str(path))
    except UserError as error:
        yield of_error('PD114', path, error)
    plain = {}
    coco = {str(name): thing for name, thing in class_list(CocoPanopticDataset.METAINFO)}
    for category in categories:
        name, is_thing = class_of(category)
        twin = plain.setdefault(''.join(name.split()).casefold(), name)
        if twin != name:
            yield found('PD116', path, f'{twin!r} and {name!r} are two classes.')
        if name.casefold() in VOID_NAMES:
            yield found('PD117', path, f'The name of a class is {name!r}.')
        if coco.get(name, is_thing) != is_thing:
            kinds = ('a thing', 'stuff') if is_thing else ('stuff', 'a thing')
            yield found('PD122', path, f'{name!r} is {kinds[0]} here and {kinds[1]} in COCO.')
    kinds = {bool(category['isthing']) for category in categories}
    if len(kinds) == 1:
        what = 'things' if True in kinds else 'stuff'
        yield found('PD121', path, f'All {len(categories)} classes are {what}.')


def _segments(split: Split) -> Iterator[Finding]:
    path, categories = split.source.ann_file, split.categories
    for remark in json_remarks(split.content, str(path)):
        yield of_error('PD118', path, remark.rstrip('.'))
    for record in split.records:
        segments, which = record['segments_info'], f'image {record["img_id"]}'
        if record['seg_map_path'] and all(s.get('iscrowd') for s in segments):
            yield found(
                'PD120',
                record['img_path'],
                f'It has {"crowds alone" if segments else "no segment"}.',
            )
        if len(segments) > MAX_SEGMENTS:
            message = f'{which} has {len(segments)} segments; there may be {MAX_SEGMENTS}.'
            yield found('PD105', path, message, remedy='Cut the image into tiles.')
        for segment in segments:
            category = categories[segment['category_id']]
            if segment.get('iscrowd') and not category['isthing']:
                message = f'Segment {segment["id"]} of {which} is a crowd of {category["name"]!r}.'
                yield found('PD119', path, message)


def compare_classes(train: Split, val: Split) -> Iterator[Finding]:
    """The classes that one split lacks, or that are things in one and stuff in the other."""
    classes = [sorted({class_of(c) for c in s.content['categories']}) for s in (train, val)]
    owners = tuple(str(split.source.ann_file) for split in (train, val))
    difference = first_difference(*classes, owners=owners)
    if difference:
        yield found('PD115', owners[1], f'{difference[:1].upper()}{difference[1:]}.')
