"""The benchmarks: what the harness measures, and that both forms of every task give the same."""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'


@pytest.fixture(scope='module')
def task():
    """A module of the benchmarks by name. They leave afterwards, for their names are short."""
    before, threads = {*sys.modules}, torch.get_num_threads()
    sys.path.insert(0, str(BENCHMARKS))
    yield import_module
    sys.path.remove(str(BENCHMARKS))
    torch.set_num_threads(threads)
    for name in {*sys.modules} - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], '__file__', None)):
            sys.modules.pop(name)


@pytest.fixture
def measured(task):
    """The results of a benchmark at small sizes, one run each."""

    def measured(name, args=None, **sizes):
        subjects = task(name).subjects(args, **sizes)
        return [task('harness').measure(subject, runs=1) for subject in subjects]

    return measured


def test_harness_runs_the_forms_in_turn(task):
    harness, order = task('harness'), []

    def form_of(name, size):
        def form(number):
            order.append((name, number))
            return lambda: torch.zeros(size).sum()

        return form

    forms = dict(small=form_of('small', 2**18), large=form_of('large', 2**20))
    values = dict(small=[torch.ones(2), 2.0], large=[torch.ones(2), 2.5])
    figures = dict(large=dict(answer=42))
    subject = harness.Subject(forms, values=lambda: values, with_memory=True, figures=figures)
    result = harness.measure(subject, runs=2)
    in_turn = [(name, number) for number in (-1, 0, 1) for name in ('small', 'large')]
    assert order == [*in_turn, ('small', 0), ('large', 0)], 'one run to warm up, one for the memory'
    small, large = result['rows']
    assert small['form'] == 'small' and large['answer'] == 42
    assert large['ratios'] == dict(large=dict(median=1, error=0))
    assert 2**20 <= small['peak_mib'] * 2**20 < 2**21 and 4 <= large['peak_mib'] < 5
    assert result['largest_difference'] == pytest.approx(0.5 / 2.5)
    difference = harness.largest_difference([1e-9, 1.0], [0.0, 1.0])
    assert difference == pytest.approx(1e-6), 'rounding of a zero'


def test_ratios_have_an_error_and_the_table_marks_those_that_say_nothing(task, monkeypatch):
    """Three forms with the times of a made-up clock, one of them taken off another one."""
    harness = task('harness')
    spans = dict(ours=[2, 2, 2, 2], noisy=[1, 9, 1, 9], base=[1, 1, 1, 1], peer=[9, 9, 9, 9])
    now = np.zeros(2)

    def form_of(name):
        def form(run):
            return lambda: now.__iadd__(spans[name][run])

        return form

    monkeypatch.setattr(harness, '_clocks', lambda: now.copy())
    forms = {name: form_of(name) for name in spans}
    subject = harness.Subject(forms, 'task', beyond=dict(peer='base'), runs=4, warm_up=0)
    result = harness.measure(subject)
    rows = {row['form']: row for row in result['rows']}
    assert [*rows] == ['ours', 'noisy', 'peer'], 'what is taken off has no row'
    assert rows['peer']['median_ms'] == 8 and rows['noisy']['median_ms'] == 5
    assert rows['ours']['ratios'] == dict(peer=dict(median=4, error=0))
    low, middle, high = np.percentile([8, 8 / 9], (25, 50, 75))
    assert rows['noisy']['ratios']['peer']['median'] == pytest.approx(middle)
    table = harness.markdown([result]).splitlines()
    assert len({line.count('|') for line in table}) == 1 and len(table) == 4
    assert table[2].startswith('| task | ours | peer | 2.00 | 8.00 | 4.00 | 0 % |')
    assert '| meaningless |' in table[3]


@pytest.mark.parametrize(
    ('name', 'sizes'),
    [
        ('criterion', dict(sides=(129,), centers=20, segments=9, samples=200, batch=2)),
        ('layer', dict(side=9, batch=2, number=8)),
    ],
    ids=['criterion', 'layer'],
)
def test_both_forms_give_the_same_values(measured, name, sizes):
    for result in measured(name, **sizes):
        assert result['largest_difference'] < 1e-4, result['title']
        assert len(result['rows']) == 2 and all(row['peak_mib'] > 0 for row in result['rows'])


def test_merge(measured):
    (result,) = measured('merge', size=(64, 93), centers=20, segments=5)
    ours, peer = result['rows']
    assert ours['peak_mib'] < peer['peak_mib'] and result['peers'] == [peer['form']]


def test_loader_metric_and_evaluation(task, shapes_root, tmp_path, capsys):
    """By the command, whose file has what it prints."""
    path, run = tmp_path / 'out.json', task('run')
    options = ['--data-root', str(shapes_root), '--images', '3', '--runs', '3', '--threads', '1']
    result = run.main(['loader', 'metric', 'evaluate', *options, '--json', str(path)])
    assert json.loads(path.read_text()) == result and result['setting']['threads'] == 1
    said = capsys.readouterr().out
    loader, truth_part, metric, evaluation = result['results']
    ours, cached, mmdet = loader['rows']
    assert 0 < ours['megabytes'] == cached['megabytes'] < mmdet['megabytes']
    assert [row['form'] for row in truth_part['rows']] == [
        f'{name}, ground-truth part' for name in ('index plane', 'with plane_cache', 'mmdet')
    ]
    for each, rows in ((metric, 3), (evaluation, 4)):
        assert each['largest_difference'] < 1e-6, 'the same PQ'
        assert len(each['rows']) == rows
    for each in result['results']:
        assert f'| {each["title"]} |' in said
    with pytest.raises(SystemExit):
        run.main(['evaluate', *options, '--json', '/dev/full'])
    said = capsys.readouterr()
    assert '| evaluate' in said.out and 'No space left' in said.err


def test_missing_packages_are_named(task, shapes_root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'hotcoco.panoptic', None)
    with pytest.raises(SystemExit):
        task('run').main(['evaluate', '--data-root', str(shapes_root), '--images', '1'])
    assert 'needs hotcoco' in capsys.readouterr().err


def test_cost_against_the_number_of_segments(measured, task, monkeypatch):
    monkeypatch.setattr(task('scaling'), 'our_step', lambda number: lambda: torch.ones(number))
    losses, truth = measured('scaling')
    assert losses['peers'] == truth['peers'] == ['10 segments'] and len(truth['rows']) == 3


@pytest.mark.slow
def test_whole_models(measured, task, shapes_root, monkeypatch):
    """With tiny networks in place of the ResNet-50s: prediction, training step and optimizer.

    ``python -m pytest -m slow tests/tools/test_benchmarks.py`` runs it.
    """
    models, config_of = task('models'), 'cmt_deeplab/cmt-deeplab_tiny_shapes.py'
    monkeypatch.setattr(models, 'OURS', {'CMT-DeepLab R50': config_of})
    monkeypatch.setattr(models, 'PEERS', dict(peer='peers/maskformer_tiny_shapes.py'))
    for name in ('predict', 'train_step', 'optimizer'):
        monkeypatch.setattr(task(name), 'OURS', models.OURS, raising=False)
        monkeypatch.setattr(task(name), 'PEERS', models.PEERS, raising=False)
    args = argparse.Namespace(data_root=str(shapes_root), split='val2017', images=3)
    (predicted,) = measured('predict', side=96)
    (step,) = measured('train_step', args, batch=2)
    for result in (predicted, step):
        ours, peer = result['rows']
        assert result['peers'] == ['peer'] and min(ours['peak_mib'], peer['peak_mib']) > 0
    (optimizer,) = measured('optimizer')
    ours, plain = optimizer['rows']
    assert ours['groups'] < plain['groups'], 'one for each parameter'
