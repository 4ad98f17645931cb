"""Cityscapes as COCO panoptic data, with 8 things and 11 stuff classes.

    python tools/dataset_converters/cityscapes_panoptic.py data/cityscapes

The folder holds leftImg8bit/ and gtFine/. gtFine/cityscapes_panoptic_{train,val}{.json,/*.png} are
written, with the segments that csCreatePanopticImgs of cityscapesScripts finds; the names of images
have their city before them. Where a class of things has a region without number, that is a crowd.
The classes that Cityscapes does not evaluate are void.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / 'projects')]  # a clone that is not installed

# The ids of the classes that are evaluated, by labels.py of cityscapesScripts.
THINGS = {
    24: 'person',
    25: 'rider',
    26: 'car',
    27: 'truck',
    28: 'bus',
    31: 'train',
    32: 'motorcycle',
    33: 'bicycle',
}
STUFF = {
    7: 'road',
    8: 'sidewalk',
    11: 'building',
    12: 'wall',
    13: 'fence',
    17: 'pole',
    19: 'traffic light',
    20: 'traffic sign',
    21: 'vegetation',
    22: 'terrain',
    23: 'sky',
}
OF_ONE_CLASS = 1000  # a thing has the value of its class times this, plus its number


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='such as data/cityscapes')
    return parser.parse_args()


def annotated_image(ids_file: Path, root: Path, split: str):
    """The image of a file *_gtFine_instanceIds.png with its truth, read when it is needed."""
    import cv2
    import numpy as np
    from cmt_deeplab.coco_format import check_same_size
    from cmt_deeplab.errors import UserError
    from cmt_deeplab.own_data.annotated import AnnotatedImage, Segment, Truth

    name = ids_file.name.replace('_gtFine_instanceIds', '_leftImg8bit')
    path, names = root / 'leftImg8bit' / split / ids_file.parent.name / name, THINGS | STUFF

    def read(size: tuple[int, int]) -> Truth:
        ids = cv2.imread(str(ids_file), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2:
            raise UserError(f'{ids_file} is damaged, or not gray: unpack gtFine again.')
        remedy = 'take both from one release'
        check_same_size(str(ids_file), ids.shape, f'the image {path}', size, remedy)
        values, rank = np.unique(ids, return_inverse=True)
        segments, numbers = [], np.zeros(len(values), np.int32)
        for k, value in enumerate(values.tolist()):
            label = value // OF_ONE_CLASS if value >= OF_ONE_CLASS else value
            if label in names:
                segments.append(Segment(names[label], is_crowd=label in THINGS and label == value))
                numbers[k] = len(segments)
        return Truth(numbers[rank.reshape(size)], segments)

    return AnnotatedImage(path, read)


def main() -> None:
    args = parse_args()
    from cmt_deeplab.errors import report_user_errors

    with report_user_errors():
        from panoptic_writing import files_in, write_panoptic

        kinds = {name: True for name in THINGS.values()} | {name: False for name in STUFF.values()}
        for split in ('train', 'val'):
            truth = files_in(args.root / 'gtFine' / split, '*/*_gtFine_instanceIds.png')
            images = [annotated_image(path, args.root, split) for path in truth]
            json_file = args.root / f'gtFine/cityscapes_panoptic_{split}.json'
            write_panoptic(images, kinds, json_file, args.root / 'leftImg8bit' / split)


if __name__ == '__main__':
    main()
