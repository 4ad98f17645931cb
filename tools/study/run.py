"""Train the models of a plan with several seeds, and keep what came out.

    python tools/study/run.py tools/study/plans/layers.py [--jobs N] [--work-dir DIR]

Each run is a process of one thread, or on GPUs one run a GPU, with a folder of its own below
WORK_DIR: config, log, scalars, checkpoint. The images are generated once. A finished run is
appended at once to the results beside the plan (PLAN.jsonl), with its commit and date. The same
command goes on where a study was ended: finished runs are left out, and one that was cut goes on
from its newest checkpoint.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from queue import SimpleQueue

TOOLS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOOLS), str(TOOLS.parent / 'projects')]

from cmt_deeplab_cli.arguments import UserError, positive, report_user_errors  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('plan', help='a file such as tools/study/plans/layers.py')
    parser.add_argument(
        '--jobs', type=positive, metavar='N', help='runs at a time (one a GPU, or one a core)'
    )
    parser.add_argument('--work-dir', type=Path, default='work_dirs/study', metavar='DIR')
    parser.add_argument('--data-root', metavar='DIR', help='images of a plan that generates none')
    args = parser.parse_args()
    return args


def study(args: argparse.Namespace) -> list[str]:
    """Train all runs of the plan that have no result; the names of those that failed."""
    import torch
    from study_plan import Plan, Row, read_plan
    from study_run import FINISHED

    plan: Plan = read_plan(args.plan, **(dict(data_root=args.data_root) if args.data_root else {}))
    work_dir = args.work_dir.resolve()
    data = plan.make_data(work_dir)
    gpus = torch.cuda.device_count()
    jobs = args.jobs or gpus or len(os.sched_getaffinity(0))
    devices = SimpleQueue()
    for job in range(jobs):
        devices.put(str(job % gpus) if gpus else '')

    def train(run: tuple[Row, int]) -> str | None:
        row, seed = run
        folder, name = plan.folder(work_dir, row, seed), f'{row.name}, seed {seed}'
        folder.mkdir(parents=True, exist_ok=True)
        goes_on = (folder / 'last_checkpoint').exists()
        print(f'{name}: {"goes on" if goes_on else "starts"} in {folder}', flush=True)
        command = [sys.executable, str(Path(__file__).with_name('study_run.py')), str(plan.path)]
        command += ['--row', row.name, '--seed', str(seed), '--data', str(data.resolve())]
        device = devices.get()
        variables = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES=device)
        with open(folder / 'output.txt', 'a', encoding='utf-8') as output:
            done = subprocess.run(
                [*command, '--folder', str(folder)], stdout=output, stderr=output, env=variables
            )
        devices.put(device)
        if done.returncode:
            print(f'{name}: failed, see {folder}/output.txt', file=sys.stderr, flush=True)
            return name
        result = dict(row=row.name, seed=seed, iterations=row.iterations, date=str(date.today()))
        result.update(json.loads((folder / FINISHED).read_text(encoding='utf-8')))
        line = json.dumps(result)
        with open(plan.results_file, 'a', encoding='utf-8') as file:
            file.write(line + '\n')
        last = result['curve'][-1]
        print(f'{name}: PQ {last["PQ"]:.2f} in {last["processor_s"]:.0f} CPU seconds', flush=True)
        return None

    with ThreadPoolExecutor(jobs) as pool:
        return [name for name in pool.map(train, plan.open_runs()) if name]


@report_user_errors()
def main() -> None:
    args = parse_args()
    failed = study(args)
    if failed:
        raise UserError(f'{len(failed)} runs failed: {"; ".join(failed)}.')


if __name__ == '__main__':
    main()
