"""COCONut's annotations of COCO images in the layout of COCO.

    python tools/dataset_converters/coconut.py coconut_b.json data/coconut \
        --images data/coco/train2017 data/coco/unlabeled2017
    python tools/dataset_converters/coconut.py relabeled_coco_val.json data/coconut \
        --images data/coco/val2017

COCONut's download_coconut.py (github.com/bytedance/coconut_cvpr2024) writes the JSON and, beside
it, the folder of PNGs. OUT gets annotations/panoptic_NAME{.json,/*.png} and links to the images in
NAME/. The areas and boxes, which COCONut lacks in part, are those of the pixels; gray PNGs become
RGB, the other ones are linked.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / 'projects')]  # a clone that is not installed


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('json', type=Path, metavar='JSON')
    parser.add_argument('out', type=Path, metavar='OUT')
    parser.add_argument('--pngs', type=Path, metavar='DIR', help='default: beside the JSON')
    parser.add_argument(
        '--images', nargs='+', type=Path, required=True, metavar='DIR', help='searched in order'
    )
    return parser.parse_args()


def converted(annotation: dict, png: Path, new_png: Path) -> dict:
    """Write or link the PNG of an image; its annotation with areas and boxes of the pixels."""
    import cv2
    import numpy as np
    from cmt_deeplab.coco_format import box_of, check_same_ids, colors_of_ids, ids_of_colors
    from cmt_deeplab.errors import UserError
    from scipy.ndimage import find_objects

    pixels = cv2.imread(str(png), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise UserError(f'{png} is damaged: download it again.')
    if pixels.ndim == 3:
        ids = ids_of_colors(np.ascontiguousarray(pixels[..., 2::-1]))
        new_png.symlink_to(png.resolve())
    else:
        ids = pixels.astype(np.uint32)
        cv2.imwrite(str(new_png), np.ascontiguousarray(colors_of_ids(ids)[..., ::-1]))
    values, rank, areas = np.unique(ids, return_inverse=True, return_counts=True)
    boxes = find_objects(rank.reshape(ids.shape) + 1)
    of_pixels = {
        value: (area, box_of(region))
        for value, area, region in zip(values.tolist(), areas.tolist(), boxes)
    }
    listed = [segment['id'] for segment in annotation['segments_info']]
    check_same_ids(
        np.setdiff1d(values, [0, *listed]), np.setdiff1d(listed, values),
        png=str(png), listed_in=f'image {annotation["image_id"]}',
    )  # fmt: skip
    segments = [
        dict(
            id=segment['id'],
            category_id=segment['category_id'],
            iscrowd=segment.get('iscrowd') or 0,
            area=of_pixels[segment['id']][0],
            bbox=of_pixels[segment['id']][1],
        )
        for segment in annotation['segments_info']
    ]
    return dict(image_id=annotation['image_id'], file_name=new_png.name, segments_info=segments)


def main() -> None:
    args = parse_args()
    from concurrent.futures import ThreadPoolExecutor

    from cmt_deeplab.errors import MissingFileError, report_user_errors
    from cmt_deeplab.panoptic_json import read_panoptic_json
    from cmt_deeplab.whole_file import write_json
    from panoptic_writing import require_new
    from rich.progress import track

    with report_user_errors():
        needs = ('images', 'categories', 'annotations')
        content = read_panoptic_json(str(args.json), needs=needs)
        new_json = args.out / f'annotations/panoptic_{args.json.stem}.json'
        require_new(new_json)
        pngs, new_pngs = args.pngs or args.json.with_suffix(''), new_json.with_suffix('')
        new_images = args.out / args.json.stem
        for folder in (new_pngs, new_images):
            folder.mkdir(parents=True)
        for image in content['images']:
            name = image['file_name']
            place = next((f / name for f in args.images if (f / name).is_file()), None)
            if place is None:
                raise MissingFileError(
                    f'{name} is in none of the folders --images: add its folder.'
                )
            (new_images / name).symlink_to(place.resolve())

        def convert(annotation: dict) -> dict:
            name = f'{Path(annotation["file_name"]).stem}.png'  # COCONut may name the .jpg
            return converted(annotation, pngs / name, new_pngs / name)

        with ThreadPoolExecutor() as pool:
            found, number = content['annotations'], len(content['annotations'])
            annotations = list(track(pool.map(convert, found), 'images', number))
        write_json(new_json, dict(content, annotations=annotations))
        print(f'{new_json}: {len(annotations)} images.')


if __name__ == '__main__':
    main()
