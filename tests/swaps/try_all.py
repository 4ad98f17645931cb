"""Tries the swaps of docs/swaps.md: ``python tests/swaps/try_all.py --rows PATTERN``.

Each outcome is printed. ``--page FILE`` writes the page and tries nothing.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

PATHS = 'projects', 'tests/helpers'
sys.path[:0] = (str(Path(__file__).resolve().parents[2] / each) for each in PATHS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--page', metavar='FILE', type=Path, help='write the page here')
    parser.add_argument('--rows', default='', metavar='PATTERN', help="of 'section: part'")
    parser.add_argument('--keep', metavar='FOLDER', help='keep configs and logs of all runs here')
    parser.add_argument('--jobs', type=int, default=2, help='rows that run at a time')
    args = parser.parse_args()

    import cmt_deeplab  # noqa: F401
    import mmdet.apis  # noqa: F401
    import timm  # noqa: F401
    from swapping.data import write_data
    from swapping.page import page, result
    from swapping.rows import ROWS
    from swapping.run import run_rows

    if args.page:
        args.page.write_text(page(), encoding='utf-8')
        return
    chosen = [row for row in ROWS if re.search(args.rows, f'{row.section}: {row.part}')]
    kinds = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(args.keep or folder).resolve()
        write_data(root)
        for row, outcome in run_rows(chosen, root, jobs=args.jobs):
            kinds.append(outcome.kind)
            said = f'{row.section}: {row.part}: {result(row, outcome)}'
            print(f'{outcome.seconds:5.1f} s  {said}', flush=True)
    print({kind: kinds.count(kind) for kind in sorted(set(kinds))})
    sys.exit('fault' in kinds)


if __name__ == '__main__':
    main()
