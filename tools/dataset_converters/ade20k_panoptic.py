"""ADE20K's scene parsing benchmark as COCO panoptic data, with 100 things and 50 stuff classes.

    python tools/dataset_converters/ade20k_panoptic.py data/ADEChallengeData2016

The folder holds ADEChallengeData2016.zip (images/ and annotations/, the classes of pixels) and
annotations_instance.tar (annotations_instance/, where red is the class of a thing and green its
number), both of http://sceneparsing.csail.mit.edu. ade20k_panoptic_{train,val}{.json,/*.png} are
written beside them, where mmdet and Mask2Former expect them. Stuff is taken from the former and
things from the latter; pixels of things that have no number are void.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / 'projects')]  # a clone that is not installed

SPLITS = dict(train='training', val='validation')
# The values of the stuff classes in annotations/, in the order of mmdet's ADE20KPanopticDataset.
STUFF_VALUES = (
    *(1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 17, 18, 22, 26, 27, 29, 30, 35, 41, 47, 49, 52, 53, 55, 60),
    *(61, 62, 64, 69, 78, 80, 85, 92, 95, 97, 100, 101, 102, 106, 107, 110, 114, 115, 118, 123),
    *(129, 132, 141, 142, 146),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='such as data/ADEChallengeData2016')
    return parser.parse_args()


def annotated_image(path: Path, root: Path, folder: str):
    """An image with its truth, which is read when it is needed."""
    import cv2
    import numpy as np
    from cmt_deeplab.coco_format import check_same_size
    from cmt_deeplab.errors import MissingFileError, UserError
    from cmt_deeplab.own_data.annotated import AnnotatedImage, Segment, Truth
    from mmdet.datasets.ade20k import ADE20KPanopticDataset

    metainfo = ADE20KPanopticDataset.METAINFO
    stuff = dict(zip(STUFF_VALUES, metainfo['stuff_classes']))
    things = dict(enumerate(metainfo['thing_classes'], start=1))

    def read_map(kind: str, size: tuple[int, int]) -> np.ndarray:
        file = root / kind / folder / f'{path.stem}.png'
        values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if values is None:
            raise MissingFileError(f'{file} is missing or damaged: unpack {kind} again.')
        remedy = 'take both from one release'
        check_same_size(str(file), values.shape[:2], f'the image {path}', size, remedy)
        return values

    def read(size: tuple[int, int]) -> Truth:
        semantic = read_map('annotations', size)
        _, number, kind = np.moveaxis(read_map('annotations_instance', size)[..., :3], -1, 0)
        plane, segments = np.zeros(size, np.int32), []
        for value in np.unique(semantic).tolist():
            if value in stuff:
                segments.append(Segment(stuff[value]))
                plane[semantic == value] = len(segments)
        thing = np.where(number > 0, number.astype(np.int32) * 256 + kind, 0)
        for value in np.unique(thing[thing > 0]).tolist():
            if value % 256 not in things:
                raise UserError(f'{path.stem}.png has a thing of the unknown class {value % 256}.')
            segments.append(Segment(things[value % 256]))
            plane[thing == value] = len(segments)
        return Truth(plane, segments)

    return AnnotatedImage(path, read)


def main() -> None:
    args = parse_args()
    from cmt_deeplab.errors import report_user_errors

    with report_user_errors():
        from mmdet.datasets.ade20k import ADE20KPanopticDataset
        from panoptic_writing import files_in, write_panoptic

        metainfo = ADE20KPanopticDataset.METAINFO
        kinds = {name: True for name in metainfo['thing_classes']}
        kinds |= {name: False for name in metainfo['stuff_classes']}
        for split, folder in SPLITS.items():
            img_dir = args.root / 'images' / folder
            images = [
                annotated_image(path, args.root, folder) for path in files_in(img_dir, '*.jpg')
            ]
            write_panoptic(images, kinds, args.root / f'ade20k_panoptic_{split}.json', img_dir)


if __name__ == '__main__':
    main()
