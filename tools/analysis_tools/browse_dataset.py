"""Look at the images and their truth as a model sees them, after all random changes.

    python tools/analysis_tools/browse_dataset.py CONFIG --not-show --output-dir DIR

The flags are those of mmdet's tool of this name. DIR gets one picture for each image, and all of
them together as contact_sheet.png. Void is hatched in gray, and crowds have light stripes. Data
sets without panoptic truth are drawn as mmdet draws them.
"""

import argparse
import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import add_config_options, config_file, positive, report_user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='its path, or its name')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    parser.add_argument(
        '--number', type=positive, default=24, help='of images, spread over the data set (24)'
    )
    parser.add_argument('--output-dir', metavar='DIR', help='folder for the pictures')
    parser.add_argument('--not-show', action='store_true', help='open no window')
    parser.add_argument(
        '--show-interval', type=float, default=2, help='seconds that a window stays (2)'
    )
    parser.add_argument(
        '--original', action='store_true', help='put each image as it is in its file above'
    )
    add_config_options(parser)
    args = parser.parse_args()
    if args.not_show and not args.output_dir:
        parser.error('--not-show needs --output-dir DIR: otherwise there is nothing to see')
    args.config = config_file(args.config)
    return args


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.analysis.config_model import load_config
    from cmt_deeplab.visualization.browse import browsed, contact_sheet
    from cmt_deeplab.visualization.local_visualizer import PanopticLocalVisualizer, require_window
    from mmcv import imwrite
    from mmengine.utils import ProgressBar

    if not args.not_show:
        require_window()
        window = PanopticLocalVisualizer('window')
    config = load_config(args.config, args.cfg_options)
    bar, pictures = ProgressBar(), []
    for name, picture in browsed(
        config, split=args.split, number=args.number, original=args.original
    ):
        if not args.not_show:
            window.show(picture, win_name=name, wait_time=args.show_interval)
        if args.output_dir:
            imwrite(picture[..., ::-1], f'{args.output_dir}/{name}.png')
        pictures.append(picture)
        bar.update()
    if args.output_dir:
        sheet = Path(args.output_dir, 'contact_sheet.png')
        imwrite(contact_sheet(pictures)[..., ::-1], str(sheet))
        print(f'\n{sheet}')


if __name__ == '__main__':
    main()
