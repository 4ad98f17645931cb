"""Panoptic quality of a folder of predictions: the drop-in for panopticapi's command line.

    python tools/analysis_tools/evaluate_panoptic.py GT_JSON GT_DIR PRED_JSON PRED_DIR [--json OUT]

panopticapi's own flags (--gt_json_file, --pred_json_file, --gt_folder, --pred_folder) work too; a
folder that is not given is the path of the JSON without .json. OUT gets the figures with
panopticapi's keys. Pixels are counted, and what a JSON may not hold is refused, unless
--as-panopticapi is given. Needs numpy, OpenCV, Pillow, kornia-rs
and rich only.
"""

import argparse
import json
import os.path as osp
import sys
import time

# A clone that is not installed.
sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..', '..', 'projects'))

from cmt_deeplab_cli.light import without_init
from rich.progress import track

with without_init('cmt_deeplab', 'cmt_deeplab.evaluation'):
    from cmt_deeplab.errors import UserError
    from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
    from cmt_deeplab.evaluation.pq import figures_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('paths', nargs='*', metavar='GT_JSON GT_DIR PRED_JSON PRED_DIR')
    names = ('gt_json_file', 'gt_folder', 'pred_json_file', 'pred_folder')
    for name in names:
        parser.add_argument(f'--{name}', metavar='PATH')
    parser.add_argument(
        '--json',
        metavar='OUT',
        help='write All, Things, Stuff and per_class (pq, sq, rq as fractions) to this file',
    )
    parser.add_argument(
        '--as-panopticapi',
        action='store_true',
        help='give the figures of panopticapi also where they differ: believe the areas in GT_JSON '
        'instead of counting pixels, and accept entries that stand twice, id 0, flags other than '
        '0 and 1, unknown categories and segments that a JSON or a PNG of the ground truth lacks',
    )
    args = parser.parse_args()
    if len(args.paths) == 4:
        vars(args).update(zip(names, args.paths))
    elif args.paths or not (args.gt_json_file and args.pred_json_file):
        parser.error(
            'give GT_JSON GT_DIR PRED_JSON PRED_DIR (or --gt_json_file and --pred_json_file)'
        )
    args.gt_folder = args.gt_folder or args.gt_json_file.replace('.json', '')
    args.pred_folder = args.pred_folder or args.pred_json_file.replace('.json', '')
    if args.json and not osp.isdir(osp.dirname(osp.abspath(args.json))):
        parser.error(f'there is no folder for --json {args.json}: make it first')
    if args.json and osp.isdir(args.json):
        parser.error(f'--json {args.json} is a folder: name a file in it')
    inputs = [osp.realpath(path) for path in (args.gt_json_file, args.pred_json_file)]
    if args.json and osp.realpath(args.json) in inputs:
        parser.error(f'--json {args.json} would be written over an input: name another file')
    return args


def main() -> None:
    args = parse_args()
    start = time.time()
    print('Evaluation panoptic segmentation metrics:')
    for title, folder, file in (
        ('Ground truth', args.gt_folder, args.gt_json_file),
        ('Prediction', args.pred_folder, args.pred_json_file),
    ):
        print(f'{title}:\n\tSegmentation folder: {folder}\n\tJSON file: {file}')
    try:
        results = evaluate_folders(
            args.gt_json_file,
            args.gt_folder,
            args.pred_json_file,
            args.pred_folder,
            as_panopticapi=args.as_panopticapi,
            warn=lambda sentence: print(f'Warning: {sentence}', file=sys.stderr),
            track=lambda images, total: track(
                images, 'images', total, disable=not sys.stdout.isatty()
            ),
        )
    except (UserError, OSError) as error:
        sys.exit(f'evaluate_panoptic.py: {error}')
    print(figures_table(results))
    print(f'Time elapsed: {time.time() - start:0.2f} seconds', flush=True)
    try:
        if args.json:
            with open(args.json, 'w', encoding='utf-8') as stream:
                json.dump(results, stream, indent=1)
    except OSError as error:
        sys.exit(
            f'evaluate_panoptic.py: The figures cannot be written to {args.json} ({error}): name '
            'another file; the table is above.'
        )


if __name__ == '__main__':
    main()
