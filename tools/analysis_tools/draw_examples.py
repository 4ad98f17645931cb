"""Pictures of what a model predicts, and of its clusters as they form layer by layer.

    python tools/analysis_tools/draw_examples.py CONFIG CHECKPOINT --images 0 1 2 --output-dir DIR

Images are counted from 0 in the order of the test set. DIR gets two files for each:
image0_prediction.png with the image, its truth and its prediction, and image0_layers.png, in which
each pixel has the color of the cluster center that it is assigned to, paler where the layer is
undecided.
"""

import argparse
import sys
import tempfile
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import (
    UserError,
    add_shared_arguments,
    config_file,
    positive,
    report_user_errors,
    require_checkpoint,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='file or name of a config')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--images', type=int, nargs='+', default=[0], metavar='PLACE')
    parser.add_argument('--output-dir', default='examples', metavar='DIR', help='(examples)')
    parser.add_argument('--columns', type=positive, default=3, help='of the picture of layers (3)')
    add_shared_arguments(parser)
    args = parser.parse_args()
    args.config = config_file(args.config)
    require_checkpoint(args.checkpoint)
    return args


def draw(args: argparse.Namespace) -> None:
    import cv2
    from cmt_deeplab.engine.runner_setup import build_runner, load_config
    from cmt_deeplab.reports.examples import example
    from cmt_deeplab.visualization.beside import joined
    from cmt_deeplab.visualization.drawer import at_size
    from mmcv import imwrite

    runner = build_runner(load_config(args))
    runner.load_checkpoint(args.checkpoint, map_location='cpu')
    loop = runner.test_loop
    runner.model.eval()
    for place in args.images:
        if not 0 <= place < len(loop.dataloader.dataset):
            raise UserError(
                f'--images {place} is not in the test set, which has images 0 to '
                f'{len(loop.dataloader.dataset) - 1}.'
            )
        drawn = example(runner.model, loop, loop.evaluator.metrics[0], place=place, name=str(place))
        layers = {title: at_size(picture) for title, picture in drawn.layers.items()}
        for kind, pictures, columns in (
            ('prediction', drawn.pictures, None),
            ('layers', layers, args.columns),
        ):
            if pictures:
                path = f'{args.output_dir}/image{place}_{kind}.png'
                picture = joined(pictures, columns=columns)
                imwrite(picture[..., ::-1], path, [cv2.IMWRITE_PNG_COMPRESSION, 9])
                print(path)


@report_user_errors()
def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.work_dir = args.work_dir or folder  # of the log
        draw(args)


if __name__ == '__main__':
    main()
