"""The charts and pictures of a page, and what it says."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from cmt_deeplab.analysis.lost_pq import CAUSES, MEANINGS
from cmt_deeplab.reports.facts import versions
from cmt_deeplab.reports.history import BLUE, logged, quality_chart, value_chart
from cmt_deeplab.reports.page import ADVICE, data_uri, verdicts
from PIL import Image


def comments(svg: str) -> set[str]:
    """The texts of a chart: matplotlib draws letters as paths and writes each text in a comment."""
    ET.fromstring(svg)
    return {text.strip() for text in re.findall(r'<!--(.*?)-->', svg, re.DOTALL)}


def test_a_loss_chart_is_labeled_and_names_its_last_value():
    texts = '\n'.join(comments(value_chart('mask id', [10, 500, 1000], [4.0, 2.0, 1.25])))
    assert 'mask id' in texts and '1.25' in texts and 'iteration' in texts and '1,000' in texts
    noise = [2.0 + (-1) ** i for i in range(240)]
    mean = '\n'.join(comments(value_chart('a', range(240), noise)))
    assert re.search(r'1\.9\d|2\.0\d', mean)
    rate = comments(value_chart('learning rate', [1, 2], [1e-3, 2.5e-05], smooth=False))
    assert '2.5e-05' in rate
    ET.fromstring(value_chart('a', [1, 2], [1.0, float('nan')]))
    dot = f'fill: {BLUE}; stroke: {BLUE}'  # a line through one value cannot be seen
    assert dot in value_chart('a', [6], [1.5])


def test_a_quality_chart_has_its_three_groups_from_0_to_100():
    figures = {5: dict(PQ=1.0, PQ_th=0.0, PQ_st=2.0), 10: dict(PQ=41.26, PQ_th=30.0, PQ_st=50.0)}
    texts = comments(quality_chart('PQ in percent', figures))
    assert {'PQ in percent', 'All 41.3', 'Things 30.0', 'Stuff 50.0', '0', '100'} <= texts


def test_the_versions_have_the_names_of_the_installed_packages():
    names = versions()
    assert names.startswith('Python 3.') and ', torch ' in names and ', numpy ' in names
    assert re.search(r', (mmdet|onedl-mmdetection) \d', names)


def test_a_flat_picture_is_a_png_and_a_photograph_a_jpeg():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for picture, kind in ((np.full((64, 64, 3), 9, np.uint8), 'png'), (noise, 'jpeg')):
        start, _, data = data_uri(picture).partition(';base64,')
        assert start == f'data:image/{kind}'
        assert np.array(Image.open(io.BytesIO(base64.b64decode(data)))).shape == picture.shape
    assert data_uri('<svg/>').startswith('data:image/svg+xml;')


@pytest.mark.parametrize('cause', CAUSES)
def test_the_main_cause_of_things_and_of_stuff_comes_with_what_helps(cause):
    nothing = dict.fromkeys(CAUSES, 0.0)
    lost = dict(Things=dict(lost=nothing | {cause: 0.4, 'loose': 0.5 * (cause == 'loose')}))
    (sentence, helps), *others = verdicts(lost | dict(Stuff=dict(lost=nothing)))
    assert sentence.startswith('Things: ') and MEANINGS[cause] in sentence
    assert helps == ADVICE[cause] and not others


def test_a_resumed_run_is_one_and_the_steps_of_a_loop_by_epochs_are_epochs(tmp_path):
    parts = dict(
        a=[dict(loss=3, step=10), dict(loss=2, step=20), {'coco_panoptic/PQ': 5.0, 'step': 1}],
        b=[{'early_9_images/PQ': 6.0, 'step': 12}, dict(loss=1, step=15)],
        c=[{'coco_panoptic/PQ': 7.0, 'lr': 0.1, 'step': 20}],
    )
    for name, rows in parts.items():
        file = tmp_path / name / 'vis_data' / 'scalars.json'
        file.parent.mkdir(parents=True)
        file.write_text('\n'.join(json.dumps(row) for row in rows))
    training, validation = logged(tmp_path)
    assert {step: row['loss'] for step, row in training.items()} == {10: 3, 15: 1}
    assert validation == {'early_9_images': {12: dict(PQ=6.0)}, 'coco_panoptic': {20: dict(PQ=7.0)}}
