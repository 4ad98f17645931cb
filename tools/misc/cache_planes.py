"""Keep the decoded panoptic PNGs of a data set in one file, so that training reads them faster.

    python tools/misc/cache_planes.py data/coco/annotations/panoptic_{train,val}2017.json

writes panoptic_train2017.planes and panoptic_val2017.planes beside them. The data set reads these
with plane_cache=True, and refuses them when a PNG has changed. Run the command again then.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import positive, report_user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('json', nargs='+', metavar='JSON', help='panoptic annotation files')
    parser.add_argument(
        '--png-dir',
        nargs='+',
        metavar='DIR',
        help='the PNGs of each JSON (default: as in COCO, in the folder of its name)',
    )
    parser.add_argument(
        '--out', nargs='+', metavar='FILE', help='in place of NAME.planes beside each NAME.json'
    )
    parser.add_argument('--processes', type=positive, help='one for each core by default')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with report_user_errors():
        from cmt_deeplab.datasets.plane_cache import default_place, write_planes
        from cmt_deeplab.errors import UserError
        from cmt_deeplab.panoptic_json import read_panoptic_json
        from rich.progress import track

        folders = args.png_dir or [str(Path(file).with_suffix('')) for file in args.json]
        places = args.out or [default_place(file) for file in args.json]
        if not len(args.json) == len(folders) == len(places):
            raise UserError('--png-dir and --out have to name one path for each JSON.')
        for file, folder, place in zip(args.json, folders, places):
            names = [each['file_name'] for each in read_panoptic_json(file)['annotations']]
            show = partial(track, description=Path(place).name, total=len(names))
            faults = write_planes(place, names, folder, processes=args.processes, track=show)
            for fault in faults:
                print(fault, file=sys.stderr)
            size = Path(place).stat().st_size / 1e6
            print(f'{place}: {len(names) - len(faults)} of {len(names)} planes, {size:.1f} MB.')


if __name__ == '__main__':
    main()
