"""Write the COCO panoptic JSONs and PNGs of annotated images of any layout that is known.

    python tools/dataset_converters/to_coco_panoptic.py DATA OUT
    python tools/dataset_converters/to_coco_panoptic.py DATA OUT --stuff sky,road

DATA is a folder with images and masks, or with an export of LabelMe, CVAT or Label Studio, COCO's
JSON of instances, or YOLO's polygons; docs/own_data.md describes the layouts. The images stay where
they are. What was found is printed, with the folders for a config.
"""

import argparse
import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', metavar='DATA')
    parser.add_argument('out', metavar='OUT', help='a folder that is empty or does not exist yet')
    parser.add_argument('--stuff', metavar='A,B', help="the classes that are stuff, or 'none'")
    parser.add_argument(
        '--background',
        default='auto',
        metavar='NAME',
        help="the stuff class of pixels without a mask, or 'void' (default: 'background' where the "
        'data have no stuff, otherwise void)',
    )
    parser.add_argument(
        '--val-share',
        type=float,
        default=0.2,
        metavar='S',
        help='the share of images for validation, where no folder is named so (default: 0.2)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the draw of these images')
    parser.add_argument('--layout', help='take DATA for this layout instead of looking for one')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from cmt_deeplab.errors import report_user_errors
    from cmt_deeplab.own_data import open_data
    from rich.progress import Progress

    with report_user_errors():
        with Progress() as bar:
            images = bar.add_task(f'images of {args.data}', total=None)
            folder = open_data(
                args.data,
                out=args.out,
                stuff=args.stuff,
                val_share=args.val_share,
                seed=args.seed,
                background=args.background,
                layout=args.layout,
                progress=lambda done, total: bar.update(images, completed=done, total=total),
            )
        print(*folder.notes, sep='\n')
        for split in filter(None, (folder.train, folder.val)):
            print(f'{split.name}: {split.ann_file}, PNGs {split.seg_dir}, images {split.img_dir}')


if __name__ == '__main__':
    main()
