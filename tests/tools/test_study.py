"""tools/study: plans, their runs, which can be cut, and the page that is written of them."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.errors import UserError
from run_tool import ROOT, run_tool

STUDY = ROOT / 'tools' / 'study'
PLANS = sorted((STUDY / 'plans').glob('*.py'))
TINY = """\
config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=8, num_val=2)
options = dict(train_dataloader=dict(batch_size=2, num_workers=0, persistent_workers=False))
options['val_dataloader'] = options['train_dataloader']
iterations, validations, seeds, baseline = 4, 2, 2, 'CMT'
rows = [dict(name='CMT'), dict(name='short', iterations=2)]
"""


@pytest.fixture(scope='module', autouse=True)
def beside_each_other():
    """The modules of a study find each other, and the parts of the quickstart, by short names."""
    with mock.patch.object(sys, 'path', [str(STUDY), str(STUDY.parent), *sys.path]):
        yield
    for name in ('study_plan', 'study_run', 'study_report', 'quickstart', 'quickstart.config'):
        sys.modules.pop(name, None)


@pytest.fixture(scope='module')
def built() -> list[dict]:
    """The models that were built: several plans have the same ones."""
    return []


@pytest.fixture
def plan_file(tmp_path) -> Path:
    path = tmp_path / 'tiny.py'
    path.write_text(TINY)
    return path


def in_this_process(command, *, run=subprocess.run, **options) -> subprocess.CompletedProcess:
    """Instead of a new process of Python, which would import torch and mmdet again."""
    if command[0] != sys.executable:
        return run(command, **options)
    done = run_tool('study/run.py', *command[2:])
    options['stdout'].write(done.stdout + done.stderr)
    return done


class InTurn(contextlib.nullcontext):
    """Instead of threads: signals are handled in the first thread of a process alone."""

    def __enter__(self):
        return self

    map = staticmethod(map)


def result(row: str, seed: int, pq: list[float], *, seconds: float, iterations: int = 4) -> dict:
    curve = [
        dict(iteration=2 * i, PQ=value, PQ_th=value - 1, PQ_st=value + 1, processor_s=seconds * i)
        for i, value in enumerate(pq, 1)
    ]
    return dict(
        row=row, seed=seed, iterations=iterations, date='2026-01-01', commits=['abc'], curve=curve
    )


@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_the_models_of_the_plans_can_be_built(path, built):
    from study_plan import read_plan

    plan = read_plan(path)
    forms = []
    for row in plan.rows:
        config = plan.model_config(row)
        model = config.model
        if model not in built:
            assert sum(p.numel() for p in build_without_values(model).parameters()) > 1e6
            built.append(model)
        forms.append((model, config.optim_wrapper, row.iterations))
    assert all(form not in forms[:i] for i, form in enumerate(forms)), 'two rows are the same'


def test_a_study_from_its_plan_to_its_page(plan_file, tmp_path):
    from study_plan import read_plan

    plan_file.write_text(f'{TINY}seeds = 1\n')
    arguments = ['study/run.py', plan_file, '--jobs', 1, '--work-dir', tmp_path / 'work']
    with (
        mock.patch('subprocess.run', in_this_process),
        mock.patch('concurrent.futures.ThreadPoolExecutor', InTurn),
    ):
        done = run_tool(*arguments)
    assert done.returncode == 0, done.stderr
    plan = read_plan(plan_file)
    results = plan.results()
    assert [(one['row'], one['seed']) for one in results] == [('CMT', 0), ('short', 0)]
    first, short = results
    assert [point['iteration'] for point in first['curve']] == [2, 4]
    assert [point['iteration'] for point in short['curve']] == [1, 2]
    times = [point['processor_s'] for point in first['curve']]
    assert 0 < times[0] < times[1] and len(first['commits']) == 1
    folder = plan.folder(tmp_path / 'work', plan.rows[0], 0)
    assert (folder / 'iter_4.pth').is_file() and list(folder.glob('*/vis_data/scalars.json'))

    page = tmp_path / 'page' / 'study.md'
    page.parent.mkdir()
    page.write_text('Mine.\n\n<!-- study tiny -->old<!-- end of tiny -->\n\nMine too.\n')
    assert run_tool('study/run.py', plan_file, '--report', page).returncode == 0
    text = page.read_text()
    assert text.startswith('Mine.\n\n<!-- study tiny -->\n\n|') and text.endswith('Mine too.\n')
    assert 'old' not in text and max(map(len, text.splitlines())) <= 100
    assert 'Not reached' not in text
    assert 'PQ to CMT' not in text and not (page.parent / 'pictures').exists(), 'of one seed'


def test_a_run_that_was_cut_goes_on(plan_file, tmp_path):
    from study_plan import read_plan
    from study_run import StudyHook, train

    plan = read_plan(plan_file)
    row, folder = plan.rows[0], tmp_path / 'run'
    options = dict(data=plan.make_data(tmp_path), folder=folder)

    def cut(self, runner, metrics):
        raise KeyboardInterrupt

    with mock.patch.object(StudyHook, 'after_val_epoch', cut), pytest.raises(KeyboardInterrupt):
        train(plan, row, 0, **options)
    assert (folder / 'iter_2.pth').is_file() and not (folder / 'run.json').exists()
    with mock.patch('study_run.commit', lambda: 'later'):
        train(plan, row, 0, **options)
    run = json.loads((folder / 'run.json').read_text())
    assert [point['iteration'] for point in run['curve']] == [2, 4]
    assert len(run['commits']) == 2 and run['commits'][1] == 'later'


def test_finished_runs_are_left_out_and_a_torn_line_is_not_one(plan_file):
    from study_plan import read_plan

    line = json.dumps(result('short', 0, [10.0], seconds=1, iterations=2))
    longer = json.dumps(result('CMT', 1, [10.0], seconds=1, iterations=8))
    plan_file.with_suffix('.jsonl').write_text(f'{line}\n{longer}\n{{"row": "CMT", "se')
    plan = read_plan(plan_file)
    names = lambda: [(row.name, seed) for row, seed in plan.open_runs()]  # noqa: E731
    assert names() == [('CMT', 0), ('CMT', 1), ('short', 1)]
    plan.keep(result('CMT', 0, [10.0], seconds=1))
    plan.keep(result('CMT', 1, [10.0], seconds=1))
    assert names() == [('short', 1)]


def test_figures_are_paired_by_seed_and_compared_in_equal_time(plan_file, tmp_path):
    from study_plan import read_plan
    from study_report import section

    results = [
        result('CMT', 0, [10.0, 30.0], seconds=10),
        result('CMT', 1, [20.0, 40.0], seconds=10),
        result('short', 1, [44.0], seconds=15, iterations=2),
        result('short', 0, [99.0], seconds=5, iterations=3),  # of an earlier length
    ]
    plan_file.with_suffix('.jsonl').write_text('\n'.join(map(json.dumps, results)) + '\n')
    text = section(read_plan(plan_file), tmp_path / 'study.png')
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()]
    rows = [line for line in lines if line and line[0] in ('CMT', 'short')]
    assert rows == [
        ['CMT', '2', '35.00 ± 7.07', '34.00 ± 7.07', '36.00 ± 7.07', '5000 ± 0'],
        ['short', '1', '44.00', '43.00', '45.00', '7500'],
        ['CMT', '', '', '25.00 ± 7.07', ''],  # half-way from 15 to 35 at 15 seconds
        ['short', '+4.00', '1 of 1', '44.00', '+14.00'],
    ]
    results[1]['curve'].insert(0, dict(results[1]['curve'][0], iteration=1))  # validated more often
    plan_file.with_suffix('.jsonl').write_text('\n'.join(map(json.dumps, results)) + '\n')
    section(read_plan(plan_file), tmp_path / 'study.png')
    assert 'Not reached, finished seeds in parentheses: short (1 of 2).' in text
    assert (tmp_path / 'study.png').read_bytes().startswith(b'\x89PNG')


def test_more_rows_than_colors_are_drawn_by_their_ends(plan_file, tmp_path):
    from study_plan import read_plan
    from study_report import section

    names = ['CMT', *map(str, range(8))]
    plan_file.write_text(TINY + f'rows = [dict(name=name) for name in {names}]\n')
    sizes = []
    for number, title in ((8, 'PQ over iterations and over CPU seconds'), (9, 'PQ at the end')):
        results = [result(name, 0, [10.0, 30.0], seconds=10) for name in names[:number]]
        plan_file.with_suffix('.jsonl').write_text('\n'.join(map(json.dumps, results)) + '\n')
        picture = tmp_path / f'{number}.png'
        assert f'![{title}](pictures/{number}.png)' in section(read_plan(plan_file), picture)
        sizes.append(picture.read_bytes()[16:24])  # width and height
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ("baseline = 'none'", 'the baseline is one of them'),
        ('rows = rows + [rows[0]]', 'a name of its own'),
        ('sedes = 3', 'has the key sedes'),
        ('del iterations', 'lacks the key iterations'),
        ('', "has no row 'lng'"),
    ],
)
def test_mistakes_in_a_plan_end_in_a_sentence(plan_file, change, said):
    from study_plan import read_plan

    plan_file.write_text(f'{TINY}{change}\n')
    with pytest.raises(UserError, match=said):
        read_plan(plan_file).row('lng')


def test_without_git_the_commit_is_unknown(monkeypatch):
    from study_run import commit

    monkeypatch.setenv('PATH', '')
    assert commit() == 'unknown'


def test_what_is_not_a_page_is_not_written_over(plan_file):
    done = run_tool('study/run.py', '--report', plan_file)
    assert done.returncode == 2 and 'is no page' in done.stderr and plan_file.read_text() == TINY


def test_two_processes_do_not_train_one_run(plan_file, tmp_path):
    from study_plan import read_plan
    from study_run import alone, train

    plan = read_plan(plan_file)
    with alone(tmp_path), pytest.raises(UserError, match='by another process'):
        train(plan, plan.rows[0], 0, data=tmp_path, folder=tmp_path)

    with contextlib.ExitStack() as others:  # they train everything
        for row, seed in plan.open_runs():
            others.enter_context(alone(plan.folder(tmp_path, row, seed)))
        done = run_tool('study/run.py', plan_file, '--jobs', 1, '--work-dir', tmp_path)
    assert done.returncode == 0 and done.stdout.count('by another process') == 4
    assert not plan.results()
