"""The table of docs/reliability.md: ``python tests/reliability/make_table.py --markdown FILE``.

Every situation is set up in this checkout, and with ``--before CHECKOUT`` also in a checkout of the
commit to compare with, whose outcomes are stored in before.json.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from trial.judge import GOOD
from trial.page import key_of, page
from trial.run import ROOT, STORED, run

MEMORY = Path('/dev/shm')  # there the thousands of checkpoints wait for no disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--markdown', metavar='FILE', type=Path, help='write the page here')
    parser.add_argument('--before', metavar='CHECKOUT', type=Path, help='of the commit before')
    parser.add_argument(
        '--rows', default='', metavar='PATTERN', help="of 'kind: situation [route]'"
    )
    parser.add_argument('--keep', metavar='FOLDER', type=Path, help='work here and keep all')
    parser.add_argument('--part', type=int, choices=(1, 2), help='of the page: both by default')
    parser.add_argument('--jobs', type=int, default=2, help='situations at a time')
    parser.add_argument('--checkout', type=Path, default=ROOT, help='this one by default')
    args = parser.parse_args()
    options = dict(rows=args.rows, jobs=args.jobs, part=args.part)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        scratch = (args.keep or Path(folder)).resolve()
        stored = json.loads(STORED.read_text()) if STORED.is_file() else {}
        if args.before:
            for row in run(args.before, scratch / 'before', **options)['rows']:
                stored[key_of(row)] = dict(outcome=row['outcome'], text=row['text'])
            STORED.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + '\n')
        now = run(args.checkout, scratch / 'now', **options)
    if args.markdown:
        args.markdown.write_text(page(now['rows'], stored, now['texts']))
    wrong = [row for row in now['rows'] if row['outcome'] not in GOOD]
    print(f'{len(now["rows"])} situations, {len(wrong)} of them neither right nor told')
    sys.exit(bool(wrong))


if __name__ == '__main__':
    main()
