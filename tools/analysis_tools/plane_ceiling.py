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

from cmt_deeplab_cli.arguments import (
    config_file,
    output_file,
    parser_of_config,
    positive,
    report_user_errors,
)


def parse_args() -> argparse.Namespace:
    parser = parser_of_config(__doc__)
    parser.add_argument('--stride', type=positive, default=4, help='of the plane, a power of two')
    parser.add_argument('--json', type=output_file, metavar='OUT', help='file for the figures')
    args = parser.parse_args()
    args.config = config_file(args.config)
    return args


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.analysis.config_model import load_config
    from cmt_deeplab.analysis.plane_ceiling import plane_ceiling
    from mmengine.fileio import dump

    figures = plane_ceiling(load_config(args.config, args.cfg_options), args.stride)
    rounded = (f'{name.split("/")[-1]} {value:.2f}' for name, value in figures.items())
    print(f'stride {args.stride}: {", ".join(rounded)}', flush=True)
    if args.json:
        dump(dict(stride=args.stride, **figures), args.json, 'json', indent=1)


if __name__ == '__main__':
    main()
