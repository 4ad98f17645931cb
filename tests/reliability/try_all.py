"""Tries the situations of docs/reliability.md: ``python tests/reliability/try_all.py``.

Each outcome is printed with its sentence. ``--page FILE`` writes the page and tries nothing.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'projects'), str(ROOT / 'tests/helpers')]
MEMORY = Path('/dev/shm')  # there the thousands of checkpoints wait for no disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--page', metavar='FILE', type=Path, help='write the page here')
    parser.add_argument(
        '--rows', default='', metavar='PATTERN', help="of 'kind: situation [route]'"
    )
    parser.add_argument('--keep', metavar='FOLDER', type=Path, help='work here and keep all')
    parser.add_argument('--part', type=int, choices=(1, 2), help='of the page: both by default')
    parser.add_argument('--jobs', type=int, default=2, help='situations at a time')
    args = parser.parse_args()
    if args.page:
        import faults  # noqa: F401  they register their situations
        import situations  # noqa: F401
        from trial.page import page

        args.page.write_text(page(), encoding='utf-8')
        return
    from trial.judge import GOOD
    from trial.run import run

    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        scratch = (args.keep or Path(folder)).resolve()
        rows = run(scratch, rows=args.rows, jobs=args.jobs, part=args.part)
    wrong = [row for row in rows if row['outcome'] not in GOOD]
    print(f'{len(rows)} situations, {len(wrong)} of them neither right nor told')
    sys.exit(bool(wrong))


if __name__ == '__main__':
    main()
