"""Every command that README or docs show is known to a test, and its flags parse.

A command is what stands in a block of bash or between backticks and begins with a program. Whether
it does what its page says is the matter of the test that ``RUN_BY`` names, which runs the program
on generated scenes. So a command is not run here as it stands: those with COCO, Cityscapes, ADE20K,
Slurm or GPUs could not be. ``NOT_RUN`` lists the rest with the reason.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from run_tool import ROOT

# the test that runs a program
RUN_BY = {
    'cmt-deeplab compare': 'tests/test_install.py',
    'cmt-deeplab configs': 'tests/test_install.py',
    'cmt-deeplab demo': 'tests/tools/test_demo_page.py',
    'cmt-deeplab doctor': 'tests/test_install.py',
    'cmt-deeplab export': 'tests/inference/test_exported.py',
    'cmt-deeplab predict': 'tests/inference/test_inference_page.py',
    'cmt-deeplab report': 'tests/test_install.py',
    'cmt-deeplab test': 'tests/test_install.py',
    'cmt-deeplab train': 'tests/test_install.py',
    '.ci/audit.py': 'tests/test_audit.py',
    '.ci/build_site.py': '.ci/run',
    'tools/analysis_tools/analyze_logs.py': 'tests/tools/test_analyze_logs.py',
    'tools/analysis_tools/analyze_results.py': 'tests/analysis/test_saved_tools.py',
    'tools/analysis_tools/browse_dataset.py': 'tests/visualization/test_browse.py',
    'tools/analysis_tools/compare_models.py': 'tests/tools/test_compare_models.py',
    'tools/analysis_tools/confusion_matrix.py': 'tests/analysis/test_saved_tools.py',
    'tools/analysis_tools/draw_examples.py': 'tests/visualization/test_visualization_hook.py',
    'tools/analysis_tools/estimate_training.py': 'tests/tools/test_estimate_training.py',
    'tools/analysis_tools/eval_metric.py': 'tests/analysis/test_saved_tools.py',
    'tools/analysis_tools/get_flops.py': 'tests/tools/test_get_flops.py',
    'tools/analysis_tools/plane_ceiling.py': 'tests/tools/test_plane_ceiling.py',
    'tools/analysis_tools/replay_step.py': 'tests/reliability/faults/hostile.py',
    'tools/benchmarks/run.py': 'tests/tools/test_benchmarks.py',
    'tools/dataset_converters/ade20k_panoptic.py': 'tests/tools/test_dataset_converters.py',
    'tools/dataset_converters/cityscapes_panoptic.py': 'tests/tools/test_dataset_converters.py',
    'tools/dataset_converters/coconut.py': 'tests/tools/test_dataset_converters.py',
    'tools/dataset_converters/to_coco_panoptic.py': 'tests/own_data/test_opening.py',
    'tools/dist_test.sh': 'tests/engine/test_distributed.py',
    'tools/dist_train.sh': 'tests/engine/test_distributed.py',
    'tools/misc/make_shapes.py': 'tests/datasets/test_shapes.py',
    'tools/misc/subset_panoptic.py': 'tests/tools/test_subset_panoptic.py',
    'tools/model_converters/deeplab2_to_mmdet.py': 'tests/tools/test_model_converters.py',
    'tools/model_converters/kmax_pytorch_to_mmdet.py': 'tests/tools/test_model_converters.py',
    'tools/model_converters/publish_model.py': 'tests/test_published_weights.py',
    'tools/quickstart.py': 'tests/quickstart/test_quickstart.py',
    'tools/run_tests.sh': '.ci/run',
    'tools/slurm_train.sh': 'tests/engine/test_distributed.py',
    'tools/test.py': 'tests/engine/test_stopping.py',
    'tools/train.py': 'tests/engine/test_command_lines.py',
}
INSTALLS = 'it needs a package index; tools/setup_env.sh takes the same steps in .ci/run'
NOT_RUN = {
    'pip': INSTALLS,
    'python -m venv': INSTALLS,
    'python -m pip': INSTALLS,
    'python -m pytest': 'pytest would run itself; the tests it names are in the suite',
    'tools/quickstart.sh': 'it makes an environment, as tools/run_tests.sh does, for quickstart.py',
    'python -m cmt_deeplab_cli': 'tests/tools/test_command_help.py asks it for help in this way',
    '.ci/run': 'it is what runs the tests',
    'tests/swaps/make_table.py': 'half an hour; tests/swaps tries the same rows',
}
# the script to which a launcher passes its arguments, but for its own at these places
LAUNCHERS = {
    'tools/dist_train.sh': ('tools/train.py', {1}),
    'tools/dist_test.sh': ('tools/test.py', {2}),
    'tools/slurm_train.sh': ('tools/train.py', {0, 1, 3}),
    'tools/quickstart.sh': ('tools/quickstart.py', set()),
}
PLACEHOLDERS = {
    '$CONFIG': 'cmt-deeplab_tiny_shapes',
    '$config': 'cmt-deeplab_tiny_shapes',
    'CONFIG': 'cmt-deeplab_tiny_shapes',
    'CONFIG...': 'cmt-deeplab_tiny_shapes',
    'H': '64',
    'W': '64',
    'S': '4',
    'SEED': '0',
    'NAME': 'merge',
}
PROGRAM = re.compile(r'(?:[A-Z_]+=\S* )*(?:cmt-deeplab|python|bash|pip) \S')
PARSES = """
import argparse, contextlib, functools, io, json, runpy, sys
from cmt_deeplab_cli.app import SCRIPT, app

class Parsed(BaseException):
    pass

def stopping(callback):
    @functools.wraps(callback)
    def stop(*args, **kwargs):
        raise Parsed
    return stop

def parse_args(parser, *args):
    argparse.ArgumentParser.parse_known_args(parser, *args)[1] and parser.error('unrecognized')
    raise Parsed

argparse.ArgumentParser.parse_args = parse_args
for command in app.registered_commands:
    if command.context_settings != SCRIPT:
        command.callback = stopping(command.callback)
answers = []
for program, arguments in json.loads(sys.argv[1]):
    sys.argv, out = [program, *arguments], io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if program.endswith('.py'):
                runpy.run_path(program, run_name='__main__')
            else:
                app(prog_name=program)
        answers.append('it ended without reading arguments')
    except Parsed:
        answers.append('')
    except SystemExit:
        answers.append(out.getvalue() or 'it ended without a word')
print(json.dumps(answers))
"""


def commands_of(text: str) -> list[str]:
    """The commands that a document shows, each in one line."""
    fenced = re.compile(r'^```(\w*)\n(.*?)^```', re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in fenced.findall(text) if language in ('bash', 'sh')]
    rest = fenced.sub('', text)
    blocks += re.findall(r'(?:^    .*\n)+', rest, re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace('\\\n', ' ').split('\n')]
    lines += [' '.join(inline.split()) for inline in re.findall(r'`([^`]+)`', rest)]
    return [line for line in lines if PROGRAM.match(line)]


def call_of(command: str) -> tuple[str, list[str]]:
    """The program of a command, as the tables above call it, and its arguments."""
    command = command.replace('cmt-deeplab predict ...', 'cmt-deeplab predict MODEL IMAGES')
    command = re.sub(r'(?<= )\[([^\]]+)\]', r'\1', command)  # what may be left out
    words = shlex.split(command.partition('&&')[0], comments=True)
    words = [
        PLACEHOLDERS.get(word, word) for word in words if not re.match('[A-Z_]+=|[.]{3}$', word)
    ]
    if words[0] in ('python', 'bash') and words[1] != '-m':
        return words[1], words[2:]
    ahead = {'pip': 1, 'cmt-deeplab': 2}.get(words[0], 3)
    return ' '.join(words[:ahead]), words[ahead:]


DOCUMENTS = [
    *ROOT.glob('*.md'),
    *(path for path in (ROOT / 'docs').glob('*.md') if path.name != 'reliability.md'),  # messages
    *(ROOT / 'configs').glob('*/README.md'),
]
SHOWN = sorted(
    {
        (str(path.relative_to(ROOT)), command)
        for path in DOCUMENTS
        for command in commands_of(path.read_text(encoding='utf-8'))
    }
)


def test_commands_are_found():
    assert len(SHOWN) > 60 and len({call_of(command)[0] for _, command in SHOWN}) > 30
    assert len(dict(SHOWN)) > 10, 'documents'


@pytest.mark.parametrize(('program', 'test'), RUN_BY.items())
def test_a_test_runs_the_program(program, test):
    name = program.removeprefix('cmt-deeplab ').rpartition('/')[2]
    text = (ROOT / test).read_text(encoding='utf-8')
    assert name in text or name.removesuffix('.py') in text


def test_every_shown_program_is_known():
    shown = {call_of(command)[0]: page for page, command in SHOWN}
    assert not {key: page for key, page in shown.items() if key not in RUN_BY | NOT_RUN}
    assert not NOT_RUN.keys() - shown.keys(), 'no page shows them any more'


def test_arguments_parse(tmp_path):
    calls = {}
    for page, command in SHOWN:
        program, arguments = call_of(command)
        if program in LAUNCHERS:
            program, own = LAUNCHERS[program]
            arguments = [word for place, word in enumerate(arguments) if place not in own]
        if not program.startswith(('cmt-deeplab', 'tools/')) or program.endswith('.sh'):
            continue
        if not arguments and command.count(' ') == 1:
            continue  # the name of a program in a sentence
        if program.startswith('cmt-deeplab'):
            program, arguments = 'cmt-deeplab', [program.split()[1], *arguments]
            for path in arguments[1:]:  # a command asks whether its folders are there
                if not path.startswith(('-', '/')) and not Path(path).suffix:
                    (tmp_path / path).mkdir(parents=True, exist_ok=True)
                elif not path.startswith(('-', '/')):
                    (tmp_path / path).touch()
        calls[f'{page}: {command}'] = (re.sub('^tools', f'{ROOT}/tools', program), arguments)
    finished = subprocess.run(
        [sys.executable, '-c', PARSES, json.dumps(list(calls.values()))],
        cwd=tmp_path,
        env=dict(PYTHONPATH=str(ROOT / 'projects'), PATH='', COLUMNS='100'),
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    answers = dict(zip(calls, json.loads(finished.stdout)))
    assert not {command: answer for command, answer in answers.items() if answer}
    assert len(answers) > 50
