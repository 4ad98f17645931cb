"""One run of a study, which ``run.py`` starts in a process of its own."""

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmt_deeplab.analysis.learning_curve import CurveHook
from cmt_deeplab.engine import runner_setup
from cmt_deeplab.errors import UserError
from cmt_deeplab.whole_file import write_json
from study_plan import Plan, Row

TOOLS = Path(__file__).resolve().parents[1]
FINISHED = 'run.json'


class StudyHook(CurveHook):
    """Its curve and clocks go into the checkpoints, and at the end into ``run.json``.

    ``commits`` are those of the code that trained, several where the run was cut and went on.
    """

    def __init__(self, name: str) -> None:
        self.name, self.curve = name, []  # which CurveHook fills
        self.commits = [commit()]
        super().__init__(self)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        kept = checkpoint.get('study')
        if kept is None:  # of weights that a row starts from
            return
        self.curve, self.wall, self.processor = kept['curve'], kept['wall'], kept['processor']
        self.commits = list(dict.fromkeys([*kept['commits'], *self.commits]))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['study'] = dict(
            curve=self.curve, wall=self.wall, processor=self.processor, commits=self.commits
        )

    def after_train(self, runner) -> None:
        if runner.iter == runner.max_iters:
            result = dict(commits=self.commits, curve=self.curve)
            write_json(Path(runner.work_dir, FINISHED), result)


def commit() -> str:
    """The commit of the code, with ``-dirty`` where files differ from it, or 'unknown'."""

    def git(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(['git', *words], cwd=TOOLS, capture_output=True, text=True)

    if not shutil.which('git'):
        return 'unknown'
    name = git('rev-parse', '--short=10', 'HEAD').stdout.strip()
    changed = git('diff', '--quiet', 'HEAD', '--', '../projects', '../configs', '.', ':!*.jsonl')
    return f'{name}{"-dirty" * changed.returncode}' if name else 'unknown'


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder.

    Raises:
        UserError: one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f'{folder} is being trained by another process.') from error
        yield


def train(plan: Plan, row: Row, seed: int, *, data: Path, folder: Path) -> None:
    """Train one run, or go on with it where it was cut.

    Raises:
        UserError: another process trains in this folder.
    """
    with alone(folder):
        config = plan.training_config(row, seed, data=data, folder=folder)
        runner_setup.resume_from(config, 'auto')
        runner = runner_setup.build_runner(config)
        runner.register_hook(StudyHook(f'{row.name}, seed {seed}'))
        runner.train()
