"""The commands of README and docs run as they stand, in a small folder with what they name.

A command that no table below mentions is run, with what ``SHORTER`` adds to its end. Of ``PARSED``
commands only the arguments are read, and ``NOT_RUN`` programs are left alone.
"""

import contextlib
import io
import re
import shutil
import traceback
from pathlib import Path

import pytest
from forks import in_forks
from run_tool import ROOT
from shown_commands import READ, commands_of, make_folder, program_of, run, words_of

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
    'tests/swaps/try_all.py': 'minutes of work; tests/swaps/test_swaps_table.py',
    'tests/reliability/try_all.py': 'minutes of work; tests/reliability/test_reliability.py',
}
CONVERTED = 'it needs weights of another code base; tests/tools/test_model_converters.py makes some'
PUBLIC = 'it needs a public data set; tests/tools/test_dataset_converters.py makes small ones'
EXPORTS = 'it needs an extra and a minute; tests/inference/test_exported.py'
MINUTES = 'it takes too long at its size; the program runs in '
SEVERAL = 'it starts several processes; tests/engine/test_distributed.py'
PARSED = {  # programs or parts of commands, with the reason and the test that runs them
    'cmt-deeplab demo': 'it serves until it is ended; tests/tools/test_demo_page.py opens it',
    'cmt-deeplab export': EXPORTS,
    'OUT.onnx': EXPORTS,
    'overfit8': 'it needs images of COCO; tests/test_configs.py',
    '--stuff': 'it needs data of a layout that asks for it; tests/own_data/test_opening.py',
    '--classes cat,dog': 'it needs the classes of COCO; tests/tools/test_subset_panoptic.py',
    'replay_step.py': 'it needs a step that failed; tests/reliability/faults/hostile.py makes one',
    'ade20k_panoptic.py': PUBLIC,
    'cityscapes_panoptic.py': PUBLIC,
    'coconut.py': PUBLIC,
    'deeplab2_to_mmdet.py': CONVERTED,
    'kmax_pytorch_to_mmdet.py': CONVERTED,
    'benchmarks/run.py': MINUTES + 'tests/tools/test_benchmarks.py',
    'cmt-deeplab train DATA': MINUTES + 'tests/own_training/test_own_training.py',
    'compare_models.py': MINUTES + 'tests/tools/test_compare_models.py',
    'estimate_training.py': MINUTES + 'tests/tools/test_estimate_training.py',
    'tools/quickstart.py': MINUTES + 'tests/quickstart/test_quickstart.py',
    'dist_test.sh': SEVERAL,
    'dist_train.sh': SEVERAL,
    'slurm_train.sh': SEVERAL,
}
# the script to which a launcher passes its arguments, but for its own at these places
LAUNCHERS = {
    'tools/dist_train.sh': ('tools/train.py', {1}),
    'tools/dist_test.sh': ('tools/test.py', {2}),
    'tools/slurm_train.sh': ('tools/train.py', {0, 1, 3}),
}
SHORTER = {'draw_examples.py': ['--images', '1'], 'make_shapes.py': ['--train', '2', '--val', '1']}
LONGEST = 600  # seconds, which end a command that hangs
PAGES = [
    *ROOT.glob('*.md'),
    *(path for path in (ROOT / 'docs').glob('*.md') if path.name != 'reliability.md'),  # messages
    *(ROOT / 'configs').glob('*/README.md'),
]
SHOWN = sorted(
    {command for page in PAGES for command in commands_of(page.read_text(encoding='utf-8'))}
)


TAKEN = [command for command in SHOWN if program_of(command) not in NOT_RUN]


def only_parsed(command: str) -> bool:
    return any(part in command for part in PARSED)


def arguments_of(command: str, folder: Path) -> list[str]:
    program, *words = words_of(command, folder)
    if program in LAUNCHERS:
        program, own = LAUNCHERS[program]
        words = [word for place, word in enumerate(words) if place not in own]
    more = [word for part, added in SHORTER.items() if part in command for word in added]
    return [program, *words, *more]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """With all that the commands name; made in a fork, as programs leave traces in a process."""
    place = tmp_path_factory.mktemp('shown')

    def make(sender, here: Path) -> None:
        make_folder(here)
        sender.send('made')

    assert [sent for _, sent, *_ in in_forks(make, [place], jobs=1, longest=LONGEST)] == ['made']
    return place


def failures(commands: list[str], folder: Path, copies: Path) -> dict[str, str | None]:
    """The last that each command wrote which did not end well, None where it was killed."""

    def attempt(sender, command: str) -> None:
        here, out, status = copies / str(commands.index(command)), io.StringIO(), 0
        shutil.copytree(folder, here, symlinks=True)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                run(arguments_of(command, here), here, only_read=only_parsed(command))
            except SystemExit as ended:
                status = ended.code or 0
            except BaseException:
                traceback.print_exc()
                status = 1
        shutil.rmtree(here)
        well = status == (READ if only_parsed(command) else 0)
        sender.send('' if well else f'{out.getvalue()[-1500:]} ended with {status}')

    done = in_forks(attempt, commands, jobs=2, longest=LONGEST)
    return {command: said for command, said, *_ in done if said != ''}


def test_the_commands_run(folder, tmp_path):
    assert len([command for command in TAKEN if not only_parsed(command)]) > 25
    assert failures(TAKEN, folder, tmp_path) == {}


def test_the_tables_hold():
    assert NOT_RUN.keys() <= {*map(program_of, SHOWN)}, 'no page shows them any more'
    parts = [*PARSED, *SHORTER]
    assert not [part for part in parts if not any(part in command for command in TAKEN)]
    named = re.findall(r'tests/[\w/]+(?:\.py)?', ' '.join([*PARSED.values(), *NOT_RUN.values()]))
    assert named and not [path for path in named if not (ROOT / path).exists()]
