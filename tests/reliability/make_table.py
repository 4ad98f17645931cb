"""The table of docs/reliability.md: ``python tests/reliability/make_table.py --markdown FILE``.

Every situation is set up in this checkout, and with ``--before CHECKOUT`` also in a checkout of the
commit to compare with, whose outcomes are stored in before.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from trial.page import key_of, page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORED = HERE / 'before.json'


def run(
    checkout: Path, scratch: Path, *, rows: str = '', jobs: int = 2, short: bool = False
) -> dict:
    """What became of the situations in a checkout of the repository.

    A dict of ``rows``, the list of outcomes with their situations; ``texts``, what is said of each
    kind; and ``seconds``.

    Args:
        scratch: a folder to work in. What is in it from an earlier call is used again.
        rows: a regular expression; those whose 'kind: name [route]' matches are set up.
        jobs: situations at a time.
        short: only those that are cheap and need no trained weights.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    data, output = scratch / 'data', scratch / 'outcomes.json'
    if not data.is_dir():
        shapes = [sys.executable, str(ROOT / 'tools/misc/make_shapes.py'), str(data / 'shapes')]
        counts = ['--train', '6', '--val', '4', '--seed', '7']
        subprocess.run([*shapes, *counts], check=True, capture_output=True)
    environment = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    environment['PYTHONPATH'] = os.pathsep.join([str(checkout / 'projects'), str(HERE)])
    command = [sys.executable, str(HERE / 'trial/worker.py'), checkout.resolve(), scratch.resolve()]
    options = ['--rows', rows, '--jobs', str(jobs), *(['--short'] if short else [])]
    subprocess.run([*map(str, command), *options], check=True, env=environment)
    return json.loads(output.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--markdown', metavar='FILE', type=Path, help='write the page here')
    parser.add_argument('--before', metavar='CHECKOUT', type=Path, help='of the commit before')
    parser.add_argument(
        '--rows', default='', metavar='PATTERN', help="of 'kind: situation [route]'"
    )
    parser.add_argument('--keep', metavar='FOLDER', type=Path, help='work here and keep all')
    parser.add_argument('--jobs', type=int, default=2, help='situations at a time')
    parser.add_argument('--checkout', type=Path, default=ROOT, help='this one by default')
    args = parser.parse_args()
    options = dict(rows=args.rows, jobs=args.jobs)
    with tempfile.TemporaryDirectory() as folder:
        scratch = (args.keep or Path(folder)).resolve()
        stored = json.loads(STORED.read_text()) if STORED.is_file() else {}
        if args.before:
            for row in run(args.before, scratch / 'before', **options)['rows']:
                stored[key_of(row)] = dict(outcome=row['outcome'], text=row['text'])
            STORED.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + '\n')
        now = run(args.checkout, scratch / 'now', **options)
    if args.markdown:
        args.markdown.write_text(page(now['rows'], stored, now['texts'], now['seconds']))
    wrong = [row for row in now['rows'] if row['outcome'] not in ('right', 'told')]
    print(f'{len(now["rows"])} situations, {len(wrong)} of them neither right nor told')
    sys.exit(bool(wrong))


if __name__ == '__main__':
    main()
