"""The tables of memory in the READMEs of the configs: ``python tests/estimates/memory_table.py``.

It estimates every leaf that a README links to and writes the tables anew, row by row; ``--rows
PATTERN`` takes those whose file name the regular expression matches. A leaf takes about 15 CPU
seconds, twice; ``--jobs N`` shares them among processes.
"""

import argparse
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / f'configs/{name}_deeplab/README.md' for name in ('cmt', 'kmax', 'max')]
HEADER = '| leaf, GPUs x images | GiB per GPU | `with_cp` | kernels | collectives | ms |\n'
LINK = re.compile(r'^\[([\w-]+)\]: (\S+\.py)$', re.MULTILINE)
PROMISE = re.compile(r'_(\d+)xb(\d+)-')


def leaves(readme: Path) -> dict[str, Path]:
    """The configs that a README links to, by the name of the link."""
    found = LINK.findall(readme.read_text(encoding='utf-8'))
    return {key: readme.parent / name for key, name in found}


def row(key: str, path: Path) -> str:
    """A row of the table: the training step in bf16 on as many GPUs as the file name says."""
    sys.path.insert(0, str(ROOT / 'projects'))
    from cmt_deeplab.analysis.config_model import load_config
    from cmt_deeplab.estimate import estimate_step

    promise = PROMISE.search(path.name)
    gpus = int(promise[1]) if promise else 1
    peaks = {}
    for with_cp in (False, True):
        cfg = load_config(str(path))
        chosen = cfg.model.get('with_cp', False)
        cfg.model.with_cp, batch = with_cp, cfg.train_dataloader.batch_size
        cfg.optim_wrapper.type = 'PanopticAmpOptimWrapper'
        step = estimate_step(cfg, batch=batch, gpus=gpus)
        peaks[with_cp] = f'{step.peak / 2**30:.1f}'
        if with_cp == chosen:
            kernels, collectives = step.total.kernels, step.collectives
            seconds, peaks[with_cp] = step.total.seconds, f'**{peaks[with_cp]}**'
    rest = f'{kernels:,} | {collectives} | {1e3 * seconds:.0f}'
    return f'| [{key}], {gpus} x {batch} | {peaks[False]} | {peaks[True]} | {rest} |\n'


def rows_of(readme: Path) -> dict[str, str]:
    """The rows of the table in a README, by the name of the link."""
    table = readme.read_text(encoding='utf-8').partition(HEADER)[2].partition('\n\n')[0] + '\n'
    return {line[3 : line.index(']')]: line for line in table.splitlines(True)[1:]}


def write(readme: Path, rows: dict[str, str]) -> None:
    text = readme.read_text(encoding='utf-8')
    before, header, after = text.partition(HEADER)
    ruler, rest = '|---|---|---|---|---|---|\n', after.partition('\n\n')[2]
    table = ''.join(rows[key] for key in leaves(readme) if key in rows)
    readme.write_text(f'{before}{header}{ruler}{table}\n{rest}', encoding='utf-8')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', default='', metavar='PATTERN', help='of file names')
    parser.add_argument('--jobs', type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs, mp_context=get_context('spawn')) as pool:
        waiting = [
            (readme, key, pool.submit(row, key, path))
            for readme in READMES
            for key, path in leaves(readme).items()
            if re.search(args.rows, path.name)
        ]
        for readme, key, future in waiting:
            if error := future.exception():
                print(f'{key}: {type(error).__name__}: {error}', file=sys.stderr, flush=True)
                continue
            line = future.result()
            print(line, end='', flush=True)
            write(readme, {**rows_of(readme), key: line})


if __name__ == '__main__':
    main()
