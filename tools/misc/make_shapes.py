"""Write a data set of generated panoptic scenes in COCO format.

python tools/misc/make_shapes.py data/shapes --preset quick --train 1000
"""

import argparse
import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import UserError, positive, report_user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root', nargs='?', default='data/shapes', help='folder to write to')
    parser.add_argument(
        '--preset', default='quick', choices=('quick', 'standard', 'nuclei', 'alike')
    )
    parser.add_argument('--train', type=positive, default=1000, help='number of training images')
    parser.add_argument('--val', type=positive, default=100, help='number of validation images')
    parser.add_argument('--size', type=positive, help="side in pixels (default: the preset's)")
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    if args.seed < 0:
        raise UserError(f'--seed {args.seed} must be at least 0.')
    return args


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.datasets import write_shapes
    from rich.progress import Progress

    with Progress() as bar:
        images = bar.add_task(f'images in {args.root}', total=args.train + args.val)
        write_shapes(
            args.root,
            preset=args.preset,
            num_train=args.train,
            num_val=args.val,
            seed=args.seed,
            size=args.size,
            progress=lambda done, total: bar.update(images, completed=done),
        )


if __name__ == '__main__':
    main()
