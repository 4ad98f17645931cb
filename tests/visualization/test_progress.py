import io
import json

import pytest
from cmt_deeplab.visualization import ProgressLine, read_scalars
from cmt_deeplab.visualization.progress import duration
from cmt_deeplab.visualization.progress_hook import panoptic_quality_of


class Terminal(io.StringIO):
    encoding = 'utf-8'

    def isatty(self):
        return True


def test_durations():
    assert [duration(s) for s in (0.2, 59.6, 380, 7500)] == ['0 s', '1:00', '6:20', '2:05:00']


def test_a_terminal_has_one_line_rewritten_in_place():
    stream = Terminal()
    line = ProgressLine(name='drawing', total=4, stream=stream)
    line.interval, line._printed = (
        0,
        0.0,
    )  # print at once: otherwise what takes less than two seconds shows no bar
    for done in range(1, 5):
        line.update(done, 'loss 1.0')
    line.finish()
    text = stream.getvalue()
    assert text.count('\n') == 1 and text.count('\r') == 5
    assert '2/4  loss 1.0  ETA 0 s' in text and 'drawing  done in 0 s' in text


def test_a_log_file_has_few_lines_and_no_carriage_return():
    stream = io.StringIO()
    line = ProgressLine(name='drawing', total=1000, stream=stream)
    for done in range(1000):
        line.update(done + 1)
    line.finish('6 images')
    assert stream.getvalue() == 'drawing  done in 0 s  6 images\n'


def test_the_line_tells_what_is_left():
    line = ProgressLine(name='training', total=200, stream=io.StringIO(), width=10)
    assert line.text(50, 'PQ 3.1', eta=380) == 'training  ██░░░░░░░░  50/200  PQ 3.1  ETA 6:20'
    assert line.text(0).endswith('ETA ?')


def test_pq_is_found_behind_any_prefix():
    assert panoptic_quality_of({'coco_panoptic/PQ': 31.2, 'coco_panoptic/PQ_th': 3.0}) == 31.2
    assert panoptic_quality_of({'loss': 1.0}) is None


def test_scalars_of_a_killed_run_are_read_up_to_the_break(tmp_path):
    path = tmp_path / 'scalars.json'
    rows = [
        dict(lr=1e-3, loss=4.0, time=0.2, iter=10, step=10),
        {'panoptic/PQ': 12.5, 'step': 10},
        dict(lr=1e-3, loss=3.0, iter=20, step=20),
    ]
    path.write_text('\n'.join(json.dumps(r) for r in rows) + '\n{"lr": 0.0')
    history = read_scalars(path)
    assert history.train['loss'] == [(10, 4.0), (20, 3.0)] and history.val == {'PQ': [(10, 12.5)]}


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='vis_data/scalars.json'):
        read_scalars(tmp_path / 'none.json')
    (tmp_path / 'other.json').write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match='no scalars'):
        read_scalars(tmp_path / 'other.json')
