"""Curves and times from the logs of trainings, resumed ones and those of mmdet too."""

import json
import re
from pathlib import Path

import cv2
import pytest
from cmt_deeplab.reports.history import read_log
from run_tool import run_tool

TOOL = 'analysis_tools/analyze_logs.py'


def write(folder: Path, rows: list[dict], timestamp: str = '20260101_000000') -> Path:
    file = folder / timestamp / 'vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return file


def rows(start: int, end: int, quality: float) -> list[dict]:
    """A value for every ten iterations, and a validation at the end."""
    training = [
        dict(loss=1 / step, time=0.5 if step == start else 0.1, data_time=0.01, step=step)
        for step in range(start, end + 1, 10)
    ]
    return [*training, {'coco_panoptic/PQ': quality, 'time': 0.9, 'step': end}]


def test_a_resumed_run_is_one_curve_and_the_later_part_counts(tmp_path):
    first = write(tmp_path, [*rows(10, 50, 20.0), *rows(60, 100, 30.0)])
    second = write(tmp_path, rows(60, 120, 40.0), '20260101_000001')
    training, validation = read_log([first, second])
    assert list(training) == list(range(10, 121, 10))
    assert {k: row['coco_panoptic/PQ'] for k, row in validation.items()} == {50: 20.0, 120: 40.0}
    done = run_tool(TOOL, 'plot_curve', tmp_path, '--keys', 'PQ', '--out', tmp_path / 'pq.png')
    assert 'PQ: 40 at iteration 120, highest 40 at iteration 120' in done.stdout
    assert cv2.imread(str(tmp_path / 'pq.png')).shape[1] > 1000


def test_a_log_by_epochs_of_mmdet_is_drawn_over_iterations(tmp_path):
    file = write(tmp_path, [*rows(10, 50, 0)[:-1], {'coco/bbox_mAP': 0.3, 'step': 1}])
    done = run_tool(
        TOOL, 'plot_curve', file, '--keys', 'coco/bbox_mAP', 'loss', '--out', tmp_path / 'x.svg'
    )
    assert 'coco/bbox_mAP: 0.3 at iteration 50' in done.stdout and 'loss: 0.02 at' in done.stdout
    assert '<svg' in (tmp_path / 'x.svg').read_text()


def test_times_leave_out_the_first_value_after_a_start_unless_told(tmp_path):
    write(tmp_path, [*rows(10, 50, 1.0), *rows(60, 100, 2.0)])
    done = run_tool(TOOL, 'cal_train_time', tmp_path)
    assert 'average iter time: 0.1000 s/iter, of which loading 0.0100' in done.stdout
    assert 'iterations 20 to 50' in done.stdout or 'iterations 10 to 50' in done.stdout
    whole = run_tool(TOOL, 'cal_train_time', tmp_path, '--include-outliers')
    assert 'average iter time: 0.1800 s/iter' in whole.stdout


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    file = write(tmp_path, rows(10, 50, 20.0))
    with file.open('a') as stream:
        stream.write('{"loss": 0.')
    assert list(read_log([file])[0]) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (['plot_curve', 'LOG', '--keys', 'bbox_mAP', '--out', 'x.png'], "no key 'bbox_mAP'.*PQ"),
        (['plot_curve', 'LOG', '--keys', 'PQ'], 'by --out'),
        (['plot_curve', 'LOG', '--keys', 'PQ', '--out', 'x.docx'], 'let it end in .png'),
        (['plot_curve', 'LOG', '--legend', 'a', 'b', '--out', 'x.png'], '--legend has 2 names'),
        (['plot_curve', 'nowhere', '--out', 'x.png'], 'nowhere is no log'),
        (['cal_train_time', __file__], 'is no log of mmengine'),
    ],
)
def test_mistakes_are_told_in_one_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'LOG', rows(10, 50, 20.0))
    done = run_tool(TOOL, *arguments)
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert re.search(sentence, done.stderr)
