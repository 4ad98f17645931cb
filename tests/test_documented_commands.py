"""The commands of README and docs run as they stand, in a small folder with what they name.

Those of ``SLOW`` run with ``pytest -m slow``. Where a command cannot run as it stands, the tables
say what stands for a word of it or is added to its end, and why; ``NOT_RUN`` programs are left
alone.
"""

import contextlib
import io
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import in_forks
from run_tool import ROOT
from shown_commands import commands_of, environment_of, make_folder, program_of, run, words_of
from shown_inputs import KMAX, KMAX_TF, make_inputs

INSTALLS = 'it needs a package index; tools/setup_env.sh takes the same steps in .ci/run'
NOT_RUN = {  # programs, with the reason
    'pip': INSTALLS,
    'python -m venv': INSTALLS,
    'python -m pip': INSTALLS,
    'python -m pytest': 'pytest would run itself; the tests it names are in the suite',
    'python -m cmt_deeplab_cli': 'tests/tools/test_command_help.py asks it for help in this way',
    'tools/quickstart.sh': 'it makes an environment, as tools/run_tests.sh does, for quickstart.py',
    'tools/run_tests.sh': '.ci/run does',
    '.ci/run': 'it is what runs the tests',
    '.ci/audit.py': '.ci/run does; it asks pypi.org',
    '.ci/build_site.py': '.ci/run does',
}
GPUS = 'two processes on the CPU stand for 8 GPUs, and one for each of two machines'
SHORT = 'a training, but shorter'
CLASSES = 'classes of the generated data'
WEIGHTS = 'tf_efficientnet_lite0.pth'
OWN = 'data in the layout that the options name'
SOURCE = 'weights of random numbers, made by a slow transcription of the other code base'
# what stands for words of a command, by a part of the command, with the reason
INSTEAD = {
    'NNODES=2': ({'8': '1', '/shared/run1': 'run1'}, GPUS),
    'dist_train.sh': ({'8': '2'}, GPUS),
    'dist_test.sh': ({'8': '2'}, GPUS),
    'slurm_train.sh': ({'/shared/run1': 'run1'}, GPUS + '; srun is a stand-in that starts two'),
    '--iters 4000': ({'4000': '1'}, SHORT),
    '--minutes 60': ({'60': '0.1'}, SHORT),
    '--train 500': ({'500': '1'}, SHORT),
    'benchmarks/run.py': (
        dict.fromkeys(
            ('criterion', 'layer', 'predict', 'train-step', 'optimizer', 'scaling'), 'metric'
        ),
        'tests/tools/test_benchmarks.py runs the tasks of many minutes at small sizes',
    ),
    'study/run.py tools': ({'tools/study/plans/layers.py': 'PLAN.py'}, 'trainings, but shorter'),
    'visualize_attention.py': ({'2': '1'}, 'as many images as there are'),
    '--classes cat,dog': ({'cat,dog': 'disk,square'}, CLASSES),
    'class-masks': ({'DATA': 'MASKS'}, OWN),
    'DATA OUT --stuff': ({'DATA': 'MASKS'}, OWN),
    'coconut.py': ({'data/coco/train2017': 'source/train2017'}, 'images of the small data set'),
    'ckpt-': (
        {f'FOLDER/ckpt-{n}': f'ckpt-{n}.npz' for n in ('100000', '150000')},
        SOURCE + ', without TensorFlow as .npz',
    ),
    'deeplab2_to_mmdet.py SRC': ({'SRC': 'ckpt-150000.npz', 'CONFIG.py': KMAX_TF}, SOURCE),
    'kmax_pytorch_to_mmdet.py SRC': ({'CONFIG.py': KMAX}, SOURCE),
}
MORE = {  # what is added to the end of a command, by a part of it, with the reason
    'draw_examples.py': (['--images', '1'], 'pictures, but fewer'),
    'study/run.py --report': (['study.md'], 'a page beside that of the docs'),
    'make_shapes.py': (['--train', '2', '--val', '1'], 'images, but fewer'),
    'cmt-deeplab train DATA': (
        ['--iters', '1', '--weights', WEIGHTS, '--work-dir', 'new'],
        SHORT + ', beside the models of other commands',
    ),
    'benchmarks/run.py': (['--runs', '1'], 'fewer timed runs'),
    'compare_models.py': (['--runs', '2', '--images', '2'], 'fewer timed runs and images'),
    'tools/quickstart.py': (
        ['--train-images', '8', '--val-images', '2', '--work-dir', 'new'],
        SHORT + ', beside the models of other commands',
    ),
    'overfit8': (
        ['--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
        + ['model.num_things_classes=6', 'model.num_stuff_classes=5'],
        SHORT + ', on generated images in place of COCO',
    ),
}
SLOW = (  # parts of commands that run with pytest -m slow
    *(
        'cmt-deeplab demo',
        'cmt-deeplab export',
        'OUT.onnx',
        'cmt-deeplab train DATA',
        'class-masks',
    ),
    *('DATA OUT --stuff', 'cat,dog', '_panoptic.py data/', 'coconut.py', '_to_mmdet.py', 'dist_'),
    *('slurm_', 'benchmarks/run.py', 'compare_models.py', 'estimate_training.py', 'quickstart.py'),
    *('overfit8', 'replay_step.py', 'try_all.py', 'study/run.py tools'),
)
LONGEST = 900  # seconds, which end a command that hangs
PAGES = [path for part in ('*.md', 'docs/*.md', 'configs/*/README.md') for path in ROOT.glob(part)]
SHOWN = sorted(
    {command for page in PAGES for command in commands_of(page.read_text(encoding='utf-8'))}
)
TAKEN = [command for command in SHOWN if program_of(command) not in NOT_RUN]
LONG = [command for command in TAKEN if any(part in command for part in SLOW)]


def arguments_of(command: str, folder: Path) -> list[str]:
    words = words_of(command, folder)
    for part, (instead, _) in INSTEAD.items():
        if part in command:
            words = [instead.get(word, word) for word in words]
    more = [word for part, (added, _) in MORE.items() if part in command for word in added]
    return [*words, *more]


def made(folder: Path, *makers: Callable[[Path], None]) -> Path:
    """The folder, filled in a fork, as programs leave traces in a process."""

    def make(sender, make_part: Callable) -> None:
        make_part(folder)
        sender.send('made')

    folder.mkdir()
    for _, sent, *_ in in_forks(make, makers, jobs=1, longest=LONGEST):
        assert sent == 'made'
    return folder


def failures(commands: list[str], folder: Path, copies: Path) -> dict[str, str | None]:
    """The last that each command wrote which did not end well, None where it was killed."""

    def attempt(sender, command: str) -> None:
        here, out, status = copies / str(commands.index(command)), io.StringIO(), 0
        shutil.copytree(folder, here, symlinks=True)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                run(arguments_of(command, here), here, environment_of(command))
            except SystemExit as ended:
                status = ended.code or 0
            except BaseException:
                traceback.print_exc()
                status = 1
        shutil.rmtree(here)
        sender.send(status and f'{out.getvalue()[-1500:]} ended with {status}')

    done = in_forks(attempt, commands, jobs=2, longest=LONGEST)
    return {command: said for command, said, *_ in done if said != 0}


def test_the_short_commands_run(tmp_path):
    short = [command for command in TAKEN if command not in LONG]
    assert len(short) > 25
    assert failures(short, made(tmp_path / 'made', make_folder), tmp_path) == {}


@pytest.mark.slow
def test_the_long_commands_run(tmp_path):
    pytest.importorskip('gradio', reason='requirements/demo_tests.txt is not installed')
    assert len(LONG) > 35
    folder = made(tmp_path / 'made', make_folder, make_inputs)
    assert failures(LONG, folder, tmp_path) == {}


def test_the_tables_hold():
    assert NOT_RUN.keys() <= {*map(program_of, SHOWN)}, 'no page shows them any more'
    parts = [*INSTEAD, *MORE, *SLOW]
    assert not [part for part in parts if not any(part in command for command in TAKEN)]
