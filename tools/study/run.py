"""Train the models of a plan with several seeds, and write what came out into a page.

    python tools/study/run.py tools/study/plans/layers.py [--jobs N] [--work-dir DIR]
    python tools/study/run.py --report

Each run is a process of one thread, or on GPUs one run a GPU, with a folder of its own below
WORK_DIR: config, log, scalars, checkpoint. The images are generated once. A finished run is
appended at once to the results beside the plan (PLAN.jsonl), with its commit and date. The same
command goes on where a study was ended: finished runs are left out, and one that was cut goes on
from its newest checkpoint.

--report trains nothing. It writes table and picture of PLAN, or of all plans in tools/study/plans,
into docs/study.md or another page.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue

TOOLS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOOLS), str(TOOLS.parent / 'projects')]

from cmt_deeplab_cli.arguments import UserError, positive, report_user_errors  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('plan', nargs='?', help='a file such as tools/study/plans/layers.py')
    parser.add_argument(
        '--jobs', type=positive, metavar='N', help='runs at a time (one a GPU, or one a core)'
    )
    parser.add_argument('--work-dir', default='work_dirs/study', metavar='DIR')
    parser.add_argument('--data-root', metavar='DIR', help='images of a plan that generates none')
    parser.add_argument(
        '--only', metavar='ROW', help='train this row alone, here, and append no result'
    )
    parser.add_argument('--seed', type=int, default=0, help='of --only')
    parser.add_argument(
        '--report',
        nargs='?',
        metavar='PAGE',
        const=str(TOOLS.parent / 'docs' / 'study.md'),
        help='write what came out into PAGE (docs/study.md)',
    )
    args = parser.parse_args()
    if not args.plan and not args.report:
        parser.error('name a plan, or give --report')
    if args.report and not args.report.endswith('.md'):
        parser.error(f'--report {args.report} is no page: give the name of a .md file')
    return args


def study(args: argparse.Namespace) -> None:
    """Train all runs of the plan that have no result.

    Raises:
        UserError: some failed; the others have their results.
    """
    import torch
    from study_plan import Row, read_plan
    from study_run import FINISHED, alone
    from study_run import train as train_here

    plan = read_plan(args.plan, **({'data_root': args.data_root} if args.data_root else {}))
    work_dir = Path(args.work_dir).resolve()
    data = plan.make_data(work_dir).resolve()
    if args.only:
        row, seed = plan.row(args.only), args.seed
        train_here(plan, row, seed, data=data, folder=plan.folder(work_dir, row, seed))
        return
    gpus = torch.cuda.device_count()
    names = os.environ.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(gpus)))
    jobs, devices = args.jobs or gpus or os.cpu_count(), SimpleQueue()
    for _, name in zip(range(jobs), cycle(names.split(','))):
        devices.put(name)

    def train(run: tuple[Row, int]) -> str | None:
        """Train one run in a process of its own and keep its result; its name if it failed."""
        row, seed = run
        if run not in plan.open_runs():  # another process has trained it meanwhile
            return None
        folder, name = plan.folder(work_dir, row, seed), f'{row.name}, seed {seed}'
        try:
            with alone(folder):
                goes_on = (folder / 'last_checkpoint').exists()
        except UserError as error:  # so that several machines can share a study
            print(f'{name}: {error}', flush=True)
            return None
        print(f'{name}: {"goes on" if goes_on else "starts"} in {folder}', flush=True)
        command = [sys.executable, __file__, str(plan.path), f'--only={row.name}']
        command += [f'--seed={seed}', f'--work-dir={work_dir}', f'--data-root={data}']
        device = devices.get()
        try:
            with open(folder / 'output.txt', 'a', encoding='utf-8') as output:
                done = subprocess.run(
                    command,
                    stdout=output,
                    stderr=output,
                    env=dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES=device),
                )
        finally:
            devices.put(device)
        if done.returncode:
            print(f'{name}: failed, see {folder}/output.txt', file=sys.stderr, flush=True)
            return name
        result = dict(row=row.name, seed=seed, iterations=row.iterations, date=str(date.today()))
        result.update(json.loads((folder / FINISHED).read_text(encoding='utf-8')))
        plan.keep(result)
        end = result['curve'][-1]
        print(f'{name}: PQ {end["PQ"]:.2f} in {end["processor_s"]:.0f} CPU seconds', flush=True)
        return None

    with ThreadPoolExecutor(jobs) as pool:
        failed = [name for name in pool.map(train, plan.open_runs()) if name]
    if failed:
        raise UserError(f'{len(failed)} runs failed: {"; ".join(failed)}.')


def report(args: argparse.Namespace) -> None:
    from study_plan import PLANS, read_plan
    from study_report import write_report

    paths = [args.plan] if args.plan else sorted(PLANS.glob('*.py'))
    write_report([read_plan(path) for path in paths], Path(args.report))
    print(args.report)


@report_user_errors()
def main() -> None:
    args = parse_args()
    report(args) if args.report else study(args)


if __name__ == '__main__':
    main()
