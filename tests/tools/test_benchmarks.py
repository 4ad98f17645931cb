"""The benchmarks: what the harness measures, and that both forms of every subject give the same."""

import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'
NAMES = ('run', 'options', 'harness', 'axial', 'criterion', 'data', 'merge', 'metric')


@pytest.fixture(scope='module')
def run():
    """The command line as a function. Its modules leave afterwards, for their names are short."""
    sys.path.insert(0, str(BENCHMARKS))
    threads = torch.get_num_threads()
    from run import main

    yield main
    sys.path.remove(str(BENCHMARKS))
    torch.set_num_threads(threads)
    for name in NAMES:
        sys.modules.pop(name, None)


def test_harness_runs_the_forms_in_turn(run):
    from harness import Subject, largest_difference, measure, table

    order = []

    def form_of(name, size):
        def form(number):
            order.append((name, number))
            return lambda: torch.zeros(size).sum()

        return form

    forms = dict(small=form_of('small', 2**18), large=form_of('large', 2**20))
    values = dict(small=[torch.ones(2), 2.0], large=[torch.ones(2), 2.5])
    figures = dict(large=dict(answer=42))
    subject = Subject(forms, values=lambda: values, with_memory=True, figures=figures)
    result = measure(subject, runs=2)
    in_turn = [(name, number) for number in (-1, 0, 1) for name in ('small', 'large')]
    assert order == [*in_turn, ('small', 0), ('large', 0)], 'one run to warm up, one for the memory'
    small, large = result['rows']
    assert small['form'] == 'small' and large['ratio'] == 1 and large['answer'] == 42
    assert 2**20 <= small['peak_mib'] * 2**20 < 2**21 and 4 <= large['peak_mib'] < 5
    assert result['largest_difference'] == pytest.approx(0.5 / 2.5)
    assert 'answer' in table(result) and '2.0e-01' in table(result)
    assert largest_difference([1e-9, 1.0], [0.0, 1.0]) == pytest.approx(1e-6), 'rounding of a zero'


@pytest.mark.parametrize(
    'arguments',
    [
        'axial --size 9 5 --channels 32',
        'criterion --batch 2 --size 33 --centers 20 --segments 9 --samples 200',
    ],
    ids=['axial', 'criterion'],
)
def test_both_forms_give_the_same_values(run, arguments, tmp_path):
    path = tmp_path / 'out.json'
    result = run([*arguments.split(), '--runs', '1', '--json', str(path)])
    assert result['largest_difference'] < 1e-5
    assert json.loads(path.read_text()) == result and result['setting']['runs'] == 1
    assert len(result['rows']) == 2 and all(row['peak_mib'] > 0 for row in result['rows'])


def test_merge(run, capsys):
    arguments = 'merge --size 65 --output 64 --centers 20 --segments 5 --runs 1'.split()
    with pytest.raises(SystemExit):
        run([*arguments, '--json', '/dev/full'])
    said = capsys.readouterr()
    assert 'PanopticMaskWiseMerge' in said.out and 'No space left' in said.err
    forms = [row['form'] for row in run(arguments)['rows']]
    assert forms[:2] == ['PanopticMaskWiseMerge', 'PanopticPixelWiseMerge'] and len(forms) == 4


def test_data_and_metric(run, shapes_root):
    options = ['--data-root', str(shapes_root), '--images', '3', '--runs', '3']
    rows = run(['data', *options, '--size', '64'])['rows']
    assert [row['form'] for row in rows] == ['image alone', 'index plane', 'mmdet']
    assert 0 < rows[1]['megabytes'] < rows[2]['megabytes']
    result = run(['metric', *options])
    assert result['largest_difference'] < 1e-6, 'the same PQ'
    assert len(result['rows']) == 3
