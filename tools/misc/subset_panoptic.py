"""Cut a COCO panoptic data set down to some images and classes, and merge classes.

    python tools/misc/subset_panoptic.py data/coco/annotations/panoptic_{train,val}2017.json \
        data/coco27 --supercategories
    python tools/misc/subset_panoptic.py data/coco/annotations/panoptic_val2017.json data/pets \
        --classes cat,dog --images 100

OUT gets the layout of COCO: annotations/NAME.json, the PNGs in annotations/NAME/, and the images in
a folder of their own, as links unless --copy is given. A PNG is written anew only where segments
were merged or left out; the other ones are links or copies too.

Merged classes: the stuff of one class in an image becomes one segment, as PQ demands, and so do its
crowds; things stay apart. Where things and stuff come under one name, the result has two classes,
and that of the stuff has "-stuff" at its end. A class keeps the id and color of its first part.
Segments of classes that are left out become void, and images without any segment are left out.
"""

import argparse
import json
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('json', nargs='+', metavar='IN_JSON', help='panoptic annotation files')
    parser.add_argument('out', metavar='OUT', help='a folder that is empty or does not exist yet')
    parser.add_argument(
        '--img-dir',
        nargs='+',
        metavar='DIR',
        help='the images of each IN_JSON (default: as in COCO, ROOT/val2017 for '
        'ROOT/annotations/panoptic_val2017.json)',
    )
    parser.add_argument('--images', type=int, metavar='N', help='keep N images of each IN_JSON')
    parser.add_argument('--seed', type=int, default=0, help='of the choice of images')
    parser.add_argument('--classes', metavar='A,B', help='keep these classes, named as merged')
    merging = parser.add_mutually_exclusive_group()
    merging.add_argument(
        '--supercategories', action='store_true', help='merge the classes of a "supercategory"'
    )
    merging.add_argument(
        '--merge', metavar='MAP', help='a JSON {"new name": ["class", "class"]}; others stay'
    )
    parser.add_argument('--copy', action='store_true', help='copy files instead of linking them')
    return parser.parse_args()


def merged_names(categories: Sequence[dict], args: argparse.Namespace) -> dict[int, str]:
    """The name of the class in the result that each category id becomes."""
    names = {category['id']: category['name'] for category in categories}
    if args.supercategories:
        names = {c['id']: c.get('supercategory') or c['name'] for c in categories}
    elif args.merge:
        groups = read_merge_map(args.merge, names.values())
        new_name = {old: new for new, olds in groups.items() for old in olds}
        names = {key: new_name.get(name, name) for key, name in names.items()}
    kinds = {}
    for category in categories:
        kinds.setdefault(names[category['id']], set()).add(bool(category['isthing']))
    return {
        c['id']: name + '-stuff' * (len(kinds[name]) == 2 and not c['isthing'])
        for c in categories
        for name in [names[c['id']]]
    }


def read_merge_map(path: str, known: Sequence[str]) -> dict[str, list[str]]:
    from cmt_deeplab.errors import UserError

    try:
        groups = json.loads(Path(path).read_text(encoding='utf-8'))
        listed = [name for names in groups.values() for name in names]
        fits = all(isinstance(names, list) for names in groups.values())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f'--merge {path} cannot be read ({error}): give a JSON.') from None
    if not fits:
        raise UserError(f'--merge {path} has to be {{"new name": ["class", "class"], ...}}.')
    for name in listed:
        if listed.count(name) > 1:
            raise UserError(f'--merge {path} names the class {name!r} twice: name it once.')
    require_classes(listed, known, f'--merge {path}')
    return groups


def require_classes(wanted: Sequence[str], known: Sequence[str], where: str) -> None:
    from cmt_deeplab.categories import hint
    from cmt_deeplab.errors import UserError

    for name in wanted:
        if name not in known:
            alike = hint((name, None), [(other, None) for other in known])
            raise UserError(f'{where} names {name!r}, which is no class of the data{alike}.')


def merge_segments(segments: Sequence[dict], category_of: Mapping[int, int]) -> dict[int, dict]:
    """The segments of an image in the result by their ids of before; of several, one object."""
    merged, shared = {}, {}
    for segment in segments:
        category, crowd = category_of.get(segment['category_id']), segment.get('iscrowd', 0)
        if category is None:
            continue
        new = dict(segment, category_id=category['id'])
        if crowd or not category['isthing']:
            first = shared.setdefault((category['id'], crowd), new)
            if first is not new:
                join(first, new)
            new = first
        merged[segment['id']] = new
    return merged


def join(first: dict, other: dict) -> None:
    """Add the area and the box of another segment to those of the first; both must have them."""
    areas, boxes = ([s.get(key) for s in (first, other)] for key in ('area', 'bbox'))
    first.pop('area', None)
    first.pop('bbox', None)
    if None not in areas:
        first['area'] = sum(areas)
    if None not in boxes:
        corners = [(x, y, x + w, y + h) for x, y, w, h in boxes]
        left, top = (min(values) for values in list(zip(*corners))[:2])
        right, bottom = (max(values) for values in list(zip(*corners))[2:])
        first['bbox'] = [left, top, right - left, bottom - top]


def place(source: Path, target: Path, *, copy: bool) -> None:
    """Copy a file or link to it."""
    from cmt_deeplab.errors import require_file

    require_file(str(source), f'There is no file {source}, which IN_JSON names: put it there.')
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target) if copy else target.symlink_to(source.resolve())


def place_png(
    source: str, target: Path, annotation: dict, merged: Mapping[int, dict], *, copy: bool
) -> None:
    """Place a PNG, written anew where its segments are not those of the result."""
    import cv2
    import numpy as np
    from cmt_deeplab.coco_format import colors_of_ids, read_id_plane
    from cmt_deeplab.evaluation.coco_panoptic import listed_segments

    old = [segment['id'] for segment in annotation['segments_info']]
    if old == [merged[key]['id'] for key in old if key in merged]:
        place(Path(source), target, copy=copy)
        return
    plane = read_id_plane(source)
    values, rank = np.unique(plane, return_inverse=True)
    listed_segments(annotation, values, png=source, json_file=f'The annotation of {source}')
    ids = np.array([merged[v]['id'] if v in merged else 0 for v in values.tolist()])
    colors = colors_of_ids(ids[rank.reshape(plane.shape)])
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.ascontiguousarray(colors[..., ::-1]))


def cut(json_file: Path, img_dir: Path, args: argparse.Namespace) -> str:
    """Write the part of one annotation file; a sentence on what it holds."""
    from cmt_deeplab.coco_format import path_below
    from cmt_deeplab.errors import UserError
    from cmt_deeplab.panoptic_json import read_panoptic_json
    from cmt_deeplab.whole_file import write_json

    content = read_panoptic_json(str(json_file), needs=('images', 'categories', 'annotations'))
    names = merged_names(content['categories'], args)
    wanted = args.classes.split(',') if args.classes else [*names.values()]
    require_classes(wanted, [*names.values()], '--classes')
    kept, category_of = {}, {}
    for category in content['categories']:
        name = names[category['id']]
        if name in wanted:
            category_of[category['id']] = kept.setdefault(name, dict(category, name=name))
    annotations = {a['image_id']: a for a in content['annotations']}
    merged = {
        key: merge_segments(annotation['segments_info'], category_of)
        for key, annotation in annotations.items()
    }
    images = [image for image in content['images'] if merged.get(image['id'])]
    if args.images and args.images < len(images):
        chosen = random.Random(args.seed).sample(range(len(images)), args.images)
        images = [images[k] for k in sorted(chosen)]
    if not images:
        raise UserError(f'No image of {json_file} has one of these classes: name other ones.')
    new_json = Path(args.out) / 'annotations' / json_file.name

    def write(image: dict) -> dict:
        annotation, of_image = annotations[image['id']], merged[image['id']]
        source = path_below(str(img_dir), image['file_name'], str(json_file))
        place(Path(source), Path(args.out, img_dir.name, image['file_name']), copy=args.copy)
        png = path_below(str(json_file.with_suffix('')), annotation['file_name'], str(json_file))
        target = new_json.with_suffix('') / annotation['file_name']
        place_png(png, target, annotation, of_image, copy=args.copy)
        segments = {segment['id']: segment for segment in of_image.values()}
        return dict(annotation, segments_info=[*segments.values()])

    with ThreadPoolExecutor() as pool:
        new_annotations = list(pool.map(write, images))
    new = dict(content, images=images, annotations=new_annotations, categories=[*kept.values()])
    write_json(new_json, new)
    things = sum(bool(category['isthing']) for category in kept.values())
    segments = sum(len(a['segments_info']) for a in new_annotations)
    return (
        f'{new_json}: {len(images)} images, {segments} segments, {len(kept)} classes '
        f'({things} of things, {len(kept) - things} of stuff).'
    )


def main() -> None:
    args = parse_args()
    from cmt_deeplab.errors import MissingFileError, UserError, report_user_errors

    with report_user_errors():
        if Path(args.out).exists() and (Path(args.out).is_file() or any(Path(args.out).iterdir())):
            raise UserError(f'{args.out} is not empty: name another folder.')
        if args.img_dir and len(args.img_dir) != len(args.json):
            raise UserError('--img-dir has to name one folder for each IN_JSON.')
        if args.images is not None and args.images < 1:
            raise UserError('--images has to be at least 1.')
        files = [Path(name) for name in args.json]
        folders = [
            f.parents[1] / f.stem.removeprefix('panoptic_') for f in map(Path.absolute, files)
        ]
        for file, folder in zip(files, map(Path, args.img_dir or folders)):
            if not folder.is_dir():
                raise MissingFileError(
                    f'The images of {file} are not in {folder}: name their folder by --img-dir.'
                )
            print(cut(file, folder, args))


if __name__ == '__main__':
    main()
