"""The options of each subject of run.py; the subjects themselves import torch and mmdet."""

from argparse import ArgumentParser

from cmt_deeplab_cli.arguments import positive


def axial(parser: ArgumentParser) -> None:
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--size', type=int, nargs=2, default=(65, 65), metavar=('H', 'W'))
    parser.add_argument('--channels', type=int, default=256, help='channels that come in')
    parser.add_argument('--bf16', action='store_true', help='under bf16 autocast')


def criterion(parser: ArgumentParser) -> None:
    parser.add_argument('--batch', type=positive, default=1, help='images')
    parser.add_argument('--size', type=positive, default=161, help='side of the prediction, odd')
    parser.add_argument('--centers', type=positive, default=128, help='N')
    parser.add_argument('--segments', type=positive, default=30, help='K, at most N')
    parser.add_argument(
        '--samples', type=positive, default=4096, help='pixels of the instance loss'
    )


def _images(parser: ArgumentParser) -> None:
    parser.add_argument('--data-root', default='data/coco')
    parser.add_argument('--ann-file', default='annotations/panoptic_train2017.json')
    parser.add_argument('--img-prefix', default='train2017/')
    parser.add_argument('--seg-prefix', default='annotations/panoptic_train2017/')
    parser.add_argument('--images', type=positive, default=100)


def data(parser: ArgumentParser) -> None:
    _images(parser)
    parser.add_argument('--size', type=positive, default=640, help='side of the crop')


def merge(parser: ArgumentParser) -> None:
    parser.add_argument('--size', type=positive, default=641, help='side of the padded input')
    parser.add_argument('--output', type=positive, default=640, help='side of the original image')
    parser.add_argument('--centers', type=positive, default=100)
    parser.add_argument('--segments', type=positive, default=20)


def metric(parser: ArgumentParser) -> None:
    _images(parser)
    parser.add_argument('--shift', type=int, default=8, help='of the predictions, in pixels')
