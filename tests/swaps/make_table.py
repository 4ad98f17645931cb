"""The table of docs/swaps.md: ``python tests/swaps/make_table.py --markdown docs/swaps.md``.

``--rows PATTERN`` runs the rows whose 'section: part' the regular expression matches.
"""

import argparse
import datetime
import re
import sys
import tempfile
import time
from pathlib import Path

PATHS = 'projects', 'tests/helpers'
sys.path[:0] = (str(Path(__file__).resolve().parents[2] / each) for each in PATHS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', default='', metavar='PATTERN', help="of 'section: part'")
    parser.add_argument('--markdown', metavar='FILE', help='write the table here')
    parser.add_argument('--keep', metavar='FOLDER', help='keep configs and logs of all runs here')
    parser.add_argument('--jobs', type=int, default=2, help='rows that run at a time')
    args = parser.parse_args()

    import cmt_deeplab  # noqa: F401
    import mmdet.apis  # noqa: F401
    import timm  # noqa: F401
    from swapping.data import write_data
    from swapping.page import page
    from swapping.rows import ROWS
    from swapping.run import run_rows

    chosen = [row for row in ROWS if re.search(args.rows, f'{row.section}: {row.part}')]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(args.keep or folder).resolve()
        write_data(root)
        begin, results = time.monotonic(), []
        for row, outcome in run_rows(chosen, root, jobs=args.jobs):
            results.append((row, outcome))
            print(
                f'{outcome.kind:8}{outcome.seconds:5.1f} s  {row.section}: {row.part}'
                f'  {outcome.text}',
                flush=True,
            )
            print(
                '   ',
                {
                    k: v
                    for k, v in outcome.evidence.items()
                    if k in ('misplaced', 'mixed') or k.startswith('learns')
                },
                flush=True,
            )
    results.sort(key=lambda result: chosen.index(result[0]))
    seconds = time.monotonic() - begin
    if args.markdown:
        today = f'{datetime.date.today():%Y-%m-%d}'
        Path(args.markdown).write_text(page(results, date=today, seconds=seconds))
    kinds = [outcome.kind for _, outcome in results]
    print({kind: kinds.count(kind) for kind in set(kinds)}, f'{seconds:.0f} s')
    sys.exit('fault' in kinds)


if __name__ == '__main__':
    main()
