"""Every command and script answers --help and wrong arguments before it imports torch or mmdet."""

import json
import subprocess
import sys

import pytest
from run_tool import ROOT

HEAVY = {'torch', 'mmdet', 'mmengine', 'mmcv'}
# torchrun's arguments, with torch's own parser; the quickstart's parts lie in a package
LEFT_OUT = {'launch.py'}
PROGRAM = """
import contextlib, io, json, runpy, sys
heavy, results = set(json.loads(sys.argv[1])), []
for program, arguments in json.loads(sys.argv[2]):
    out = io.StringIO()
    sys.argv = [program, *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            if program.endswith('.py'):
                runpy.run_path(program, run_name='__main__')
            else:
                runpy.run_module(program, run_name='__main__')
        code = 0
    except SystemExit as end:
        code = end.code or 0
    results.append((code, out.getvalue(), sorted(heavy & set(sys.modules))))
print(json.dumps(results))
"""


def answers(calls: list) -> list:
    """Exit status, output and heavy modules in memory after each call, in one fresh process."""
    finished = subprocess.run(
        [sys.executable, '-c', PROGRAM, json.dumps(sorted(HEAVY)), json.dumps(calls)],
        env=dict(PYTHONPATH=str(ROOT / 'projects'), PATH='', COLUMNS='100'),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def scripts() -> list[str]:
    """The programs among the files of tools/."""
    return [
        str(path)
        for path in sorted((ROOT / 'tools').rglob('*.py'))
        if path.name not in LEFT_OUT and "__name__ == '__main__'" in path.read_text('utf-8')
    ]


@pytest.fixture(scope='module')
def commands() -> list[str]:
    from cmt_deeplab_cli.app import app

    return [command.name or command.callback.__name__ for command in app.registered_commands]


def test_help_of_every_script():
    calls = [(script, ['--help']) for script in scripts()]
    assert len(calls) > 12
    for (script, _), (code, output, heavy) in zip(calls, answers(calls)):
        assert code == 0 and 'usage: ' in output and 'OneDL' not in output, script
        assert not heavy, f'{script} has imported {heavy}'


def test_help_of_every_command(commands):
    assert {'train', 'test', 'compare', 'configs'} <= set(commands)
    calls = [('cmt_deeplab_cli', arguments) for arguments in ([], ['--help'], ['--version'])]
    calls += [('cmt_deeplab_cli', [command, '--help']) for command in commands]
    results = answers(calls)
    assert {len(heavy) for *_, heavy in results} == {0}
    for command, (code, output, _) in zip(commands, results[3:]):
        assert code == 0 and f'sage: cmt-deeplab {command}' in output, command
        assert f' {command} ' in results[1][1], 'the help of the program lists it'
    assert results[0][1].strip() == results[1][1].strip() and results[2][0] == 0
    import cmt_deeplab

    assert results[2][1].strip() == cmt_deeplab.__version__


WRONG = [
    (['trian'], 2, "No such command 'trian'"),
    (['train'], 2, 'the following arguments are required'),
    (['train', 'cmt-deeplab_tiny_shape'], 1, 'is cmt-deeplab_tiny_shapes or'),
    (['train', 'nuclei'], 1, 'no folder nuclei of data. The config nuclei does not exist'),
    (['train', 'configs', '--model', 'x'], 2, "invalid choice: 'x'"),
    (['train', 'configs', '--amp'], 2, '--amp, --auto-scale-lr and --launcher are for a config'),
    (['train', 'configs', '--resume', 'no.pth'], 2, 'it continues from the newest'),
    (['train', 'configs', '--image-size', '1', '2', '3'], 2, 'the height and the width'),
    (['train', 'cmt-deeplab_tiny_shapes', '--minutes', '3'], 2, '--minutes is for a folder'),
    (['train', 'nuclei', '--iters', '2'], 1, 'There is no folder nuclei of data.'),
    *((['train', '.', '--minutes', m], 2, f'{m} is no number above 0') for m in ('0', 'nan', 'x')),
    (['train', 'no/such/config.py'], 1, 'no/such/config.py does not exist: give the path'),
    (['train', 'cmt-deeplab_tiny_shapes', '--amq'], 2, 'unrecognized arguments: --amq'),
    (['train', 'cmt-deeplab_tiny_shapes', '--cfg-options', 'a'], 2, 'not of the form key=value'),
    (['train', 'cmt-deeplab_tiny_shapes', '--resume', 'no.pth'], 1, 'no.pth does not exist'),
    (['test', 'cmt-deeplab_tiny_shapes', 'no.pth'], 1, 'The checkpoint no.pth does not exist'),
    (['test', 'mmdet::solo/no.py', 'no.pth'], 1, 'solo/no.py is not to be found'),
    (['compare', 'cmt-deeplab_tiny_shapes:no.pth'], 1, 'The checkpoint no.pth of'),
    (['predict', 'no.pth', 'x.png'], 1, 'The checkpoint no.pth does not exist'),
    (['predict', 'tiny', 'x.png'], 1, 'The config tiny does not exist'),
    (['predict', 'tiny'], 2, 'Missing argument'),
    (['doctor', 'nowhere'], 2, "'nowhere' does not exist"),
    (['doctor', 'docs', '--fail-on', 'none'], 2, "'none' is not one of 'error', 'warning', 'note'"),
    (['report', 'nowhere'], 2, "'nowhere' does not exist"),
    (['compare', 'cmt-deeplab_tiny_shapes', '--json', '/proc/no/x.json'], 2, 'cannot be written'),
]


def test_wrong_arguments_are_told_at_once():
    results = answers([('cmt_deeplab_cli', arguments) for arguments, *_ in WRONG])
    for (arguments, status, words), (code, output, heavy) in zip(WRONG, results):
        assert (code, heavy) == (status, []) and words in ' '.join(output.split()), arguments
        assert 'Traceback' not in output
