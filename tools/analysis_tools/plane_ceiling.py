"""PQ of the ground truth itself, through the plane that a model of a given stride predicts on.

    python tools/analysis_tools/plane_ceiling.py CONFIG [--stride 4] [--json OUT]

No prediction on that plane can be better. The truth of the config's validation set is resized as
the pipeline resizes the image, brought to the stride of the prediction, merged by the config's
merge at the original size and scored by the config's metric.
"""

import argparse
import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

import cmt_deeplab  # noqa: F401  before mmdet, which needs its stand-ins
from cmt_deeplab.analysis.config_model import add_config_options, load_config
from cmt_deeplab.analysis.plane_ceiling import plane_ceiling
from cmt_deeplab.errors import output_file, positive, report_user_errors
from mmengine.fileio import dump


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--stride', type=positive, default=4, help='of the plane, a power of two')
    parser.add_argument('--json', type=output_file, metavar='OUT', help='file for the figures')
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with report_user_errors():
        figures = plane_ceiling(load_config(args.config, args.cfg_options), args.stride)
        rounded = (f'{name.split("/")[-1]} {value:.2f}' for name, value in figures.items())
        print(f'stride {args.stride}: {", ".join(rounded)}', flush=True)
        if args.json:
            dump(dict(stride=args.stride, **figures), args.json, 'json', indent=1)


if __name__ == '__main__':
    main()
