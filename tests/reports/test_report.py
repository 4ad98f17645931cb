"""The page about a run: of a short training on crops, and made again from its work dir."""

import json
import logging
import re
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.engine.runner_setup import build_runner
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.reports import PanopticReportHook, write_report
from cmt_deeplab.reports.facts import expected_quality
from helpers.toy_run import toy_runner
from mmengine.runner import IterBasedTrainLoop

ROOT = Path(__file__).resolve().parents[2]
LEAF = """'''A test.

Expected PQ on scenes: 12.3 (nobody). Not
trained by us.
'''
_base_ = '{base}'
data = dict(data_root='{root}/')
crops = [
    *_base_.load, dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 2.0)), _base_.pack
]
whole = [step for step in _base_.test_pipeline if step['type'] != 'PanopticResize']
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(image_size=(64, 64), pipeline=crops, **data),
)
val_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(image_size=None, pipeline=whole, **data),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None, seg_prefix=None)
test_evaluator = val_evaluator
model = dict(
    data_preprocessor=dict(size=None), postprocess=dict(thing_threshold=0, stuff_threshold=0)
)
train_cfg = dict(max_iters=3, val_interval=2)
param_scheduler = None
early = dict(type='PanopticEarlyFiguresHook', interval=1, images=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1), early_figures=early)
custom_hooks = [dict(type='PanopticReportHook', examples=1)]
work_dir = '{work_dir}'
"""


@pytest.fixture(scope='module')
def work_dir(shapes_root, tmp_path_factory) -> Path:
    """Of a training on crops of 64x64 that is tested on whole images of 96x96."""
    folder = tmp_path_factory.mktemp('run')
    base = ROOT / 'configs' / 'cmt_deeplab' / 'cmt-deeplab_tiny_shapes.py'
    leaf = folder / 'leaf.py'
    leaf.write_text(LEAF.format(base=base, root=shapes_root, work_dir=folder / 'work'))
    build_runner(read_config(str(leaf))).train()
    return folder / 'work'


def rows_of(work_dir: Path) -> list[dict]:
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def words_of(page: str) -> str:
    """The text that a reader sees."""
    body = page.partition('<body>')[2]
    return ' '.join(re.sub(r'<[^>]+>', ' ', body).split())


def test_the_page_is_complete_and_needs_nothing_else(work_dir):
    page = (work_dir / 'report.html').read_text()
    last = rows_of(work_dir)[-1]
    assert f'<title>leaf: PQ {last["coco_panoptic/PQ"]:.2f}</title>' in page
    words = words_of(page)
    for key, group in (('PQ', 'all classes'), ('PQ_th', 'things'), ('PQ_st', 'stuff')):
        assert f'{last["coco_panoptic/" + key]:.1f} PQ of {group}' in words
    for text in (
        'after 3 iterations, tested on 6 images',
        'Things: ',
        'What helps: ',
        'merged',
        'best: PQ',
        'layer 2, stride 8',
        'final mask, stride 4',
        'Expected PQ on scenes: 12.3 (nobody). Not trained by us.',
        '3 of 3, of 2 images each',
        'images a second',
        '6 of things, 5 of stuff',
        'trained on 12 images',
        'learning rate',
        'stripes',
        'torch ',
        f'cmt-deeplab predict {work_dir} IMAGES',
    ):
        assert text in words, text
    assert '<script' not in page and 'url(' not in page and 'http' not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert len(re.findall('class="picture[ "]', page)) == 3 * 3
    assert page.count('class="assignment') == 3 * 3


def test_tags_are_balanced(work_dir):
    stack = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ('meta', 'img', 'input'):
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Checker().feed((work_dir / 'report.html').read_text())
    assert stack == []


def test_the_log_has_rate_speed_and_time_left_and_the_best_checkpoint_is_kept(work_dir):
    first = rows_of(work_dir)[0]
    assert first['images_per_second'] == pytest.approx(2 / first['time'], rel=1e-3)
    assert {'lr', 'time', 'data_time', 'loss'} <= first.keys()
    (log,) = work_dir.glob('*/*.log')
    assert re.search(r'Iter\(train\) \[1/3\].* lr: .*eta: .*images_per_second: ', log.read_text())
    assert len(list(work_dir.glob('best_coco_panoptic_PQ_iter_*.pth'))) == 1


def test_early_figures_are_told_from_those_of_a_validation(work_dir):
    early = [row for row in rows_of(work_dir) if 'early_4_images/PQ' in row]
    assert [row['step'] for row in early] == [1]  # a validation follows iterations 2 and 3
    assert early[0].keys() == {f'early_4_images/{k}' for k in ('PQ', 'PQ_th', 'PQ_st')} | {'step'}
    (log,) = work_dir.glob('*/*.log')
    assert re.search(r'early figures at iteration 1: PQ .* on 4 of 6 images', log.read_text())
    page = (work_dir / 'report.html').read_text()
    for images in ('4 of the validation', 'the validation'):
        assert page.count(f'alt="Chart: PQ in percent on {images} images"') == 1


def test_it_is_made_again_from_the_work_dir(work_dir, monkeypatch):
    monkeypatch.setattr('cmt_deeplab.reports.page.FOLDED', 10)
    page = work_dir / 'report.html'
    before, times = page.read_text(), page.stat().st_mtime_ns
    assert write_report(work_dir, checkpoint=work_dir / 'iter_3.pth') == page
    assert page.stat().st_mtime_ns > times
    after = page.read_text()
    for part in ('class="values"', 'class="lost"'):
        assert after.partition(part)[2][:900] == before.partition(part)[2][:900]
    tables = '<details open>\n      <summary>11 classes', '<details>\n      <summary>11 classes'
    assert tables[0] in before and tables[1] in after  # more than FOLDED are folded
    assert 'iter_3.pth' in after and 'after 3 iterations' in after
    assert after.count('class="chart"') == before.count('class="chart"') > 4
    (log,) = work_dir.glob('*/vis_data/scalars.json')  # its curves stay those
    log.write_text(''.join(row for row in log.read_text().splitlines(True) if '/PQ' in row))
    write_report(work_dir)  # as of a run that has logged no loss yet
    assert page.read_text().count('class="chart"') == 2 and 'Parts of' not in page.read_text()


def test_a_fault_of_the_page_does_not_end_a_training_but_a_test(caplog):
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    for training, outcome in ((loop, nullcontext()), (None, pytest.raises(LookupError))):
        runner = SimpleNamespace(_train_loop=training, logger=logging.getLogger('report'))
        with outcome, PanopticReportHook()._not_at_any_price(runner):
            raise LookupError('no such image')
    assert 'is not complete' in caplog.text and 'LookupError: no such image' in caplog.text


def test_what_cannot_be_reported(tmp_path):
    with pytest.raises(MissingFileError, match='no TIMESTAMP/vis_data/config.py: give the work'):
        write_report(tmp_path)
    (tmp_path / 'a.py').write_text('val_dataloader = None')
    with pytest.raises(MissingFileError, match='has no checkpoint: give the work'):
        write_report(tmp_path)
    (tmp_path / 'best_a.pth').touch()
    with pytest.raises(UserError, match='had no validation data'):
        write_report(tmp_path)
    runner = toy_runner(tmp_path / 'toy', custom_hooks=[dict(type='PanopticReportHook')])
    with pytest.raises(UserError, match="PanopticReportHook needs .*'PanopticQualityMetric'"):
        runner.train()


def test_only_a_docstring_that_speaks_of_it_has_an_expected_quality():
    configs = ROOT / 'configs' / 'kmax_deeplab'
    found = expected_quality(
        str(configs / 'kmax-deeplab_convnext-l_8xb8-150k_coco-panoptic-1281.py')
    )
    assert found == (
        'Expected PQ on COCO val: 57.9 (deeplab2 and bytedance/kmax-deeplab). Not trained by us.'
    )
    assert expected_quality(str(ROOT / 'configs/_base_/default_runtime.py')) is None
    assert expected_quality(None) is None
