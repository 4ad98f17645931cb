"""The page of the quickstart, its charts and its pictures."""

import argparse
import base64
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from cmt_deeplab.coco_format import INSTANCE_OFFSET
from cmt_deeplab.visualization import AssignmentMap, PanopticDrawer
from PIL import Image
from quickstart.charts import loss_chart, quality_chart
from quickstart.pictures import example
from quickstart.recorder import ValidatedImage
from quickstart.report import versions, write_page

CLASSES = ('cat', 'grass <b>')
CAT, FOUND, GRASS = INSTANCE_OFFSET, 3 * INSTANCE_OFFSET, 1
ROW = dict(pq=0.57123, sq=0.8, rq=0.7, n=2)


@pytest.fixture
def shown(tmp_path):
    """The pictures of one image whose cat was found one pixel to the right."""
    truth = np.full((24, 24), GRASS)
    truth[6:18, 6:18] = CAT
    found = np.full((24, 24), GRASS)
    found[6:18, 7:19] = FOUND
    path = tmp_path / '1.png'
    Image.fromarray(np.full((24, 24, 3), 60, np.uint8)).save(path)
    matches = {GRASS: GRASS, FOUND: CAT}
    row = {0: [1.0, 1, 1, 1]}  # sum of IoUs, true and false positives, false negatives
    image = ValidatedImage(0, str(path), truth, found, [], matches, [], row)
    centers = np.where(found == FOUND, 5, 2)
    confidence = np.full((24, 24), 0.5, np.float32)
    layers = [AssignmentMap(f'layer {i}', centers, confidence) for i in (1, 2)]
    drawer = PanopticDrawer(
        classes=CLASSES, num_things_classes=1, labels=False, alpha=1.0, min_side=24
    )
    return example('best', image, layers, drawer=drawer)


def page(folder, shown) -> str:
    path = folder / 'report.html'
    write_page(
        path,
        args=argparse.Namespace(train_images=40, val_images=8, seed=7, minutes=5.0),
        charts=dict(loss='<svg>1</svg>'),
        command='python a <b',
        config='configs/a.py',
        examples=[shown],
        figures=dict(All=ROW, Things=ROW, Stuff=ROW, per_class={0: ROW, 1: ROW}),
        machine='CPU',
        meta=dict(classes=CLASSES, thing_classes=CLASSES[:1]),
        minutes=2.5,
        parameters=1_600_000,
        parts=dict(mask='<svg>2</svg>'),
        python='python',
        runner=SimpleNamespace(
            max_iters=60,
            work_dir='work_dirs/a',
            log_dir='work_dirs/a/1',
            train_dataloader=SimpleNamespace(batch_size=8),
        ),
        skipped=20,
        versions='torch 2',
    )
    return path.read_text()


def test_the_page_is_complete_and_needs_nothing_else(tmp_path, shown):
    text = page(tmp_path, shown)
    assert '57.12' in text and '1.6 million' in text and '2.5 minutes' in text
    assert 'best: PQ 50.0 (1.png)' in text
    words = ' '.join(text.split())
    assert '60 of batch size 8, 20 of them skipped to end within 5 minutes' in words
    assert '--iters 180 --minutes 15' in text
    assert 'test.py work_dirs/a/1/vis_data/config.py work_dirs/a/iter_60.pth<' in text
    assert 'grass &lt;b&gt;' in text and 'python a &lt;b' in text  # escaped
    for heading in ('Curves', 'Pictures', 'Classes', 'What was run', 'Next steps'):
        assert f'<h2>{heading}</h2>' in text
    assert '<script' not in text and 'url(' not in text and 'http' not in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 5  # input, ground truth, prediction, two layers
    assert np.array(Image.open(io.BytesIO(base64.b64decode(pictures[0])))).shape == (24, 24, 3)
    charts = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert [base64.b64decode(chart) for chart in charts] == [b'<svg>1</svg>', b'<svg>2</svg>']


def test_tags_are_balanced(tmp_path, shown):
    stack = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ('meta', 'img'):
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Checker().feed(page(tmp_path, shown))
    assert stack == []


def test_a_found_segment_has_one_color_in_truth_prediction_and_layers(shown):
    truth, found = shown['pictures']['ground truth'], shown['pictures']['prediction']
    color = truth[12, 12]
    assert (found[12, 12] == color).all() and not (truth[2, 2] == color).all()
    layer = shown['layers']['layer 1']
    assert layer.shape == (24, 24, 3)
    weight = 0.3 + 0.7 * np.sqrt(0.5)
    faded = (color * weight + 255 * (1 - weight)).round()
    assert np.abs(layer[12, 12].astype(int) - faded).max() <= 1
    assert (shown['layers']['layer 2'] == layer).all()


def comments(svg: str) -> set[str]:
    """The texts of a chart: matplotlib draws letters as paths and writes each text in a comment."""
    ET.fromstring(svg)
    return {text.strip() for text in re.findall(r'<!--(.*?)-->', svg, re.DOTALL)}


def test_a_loss_chart_is_labeled_and_names_its_last_value():
    svg = loss_chart('mask id', [10, 500, 1000], [4.0, 2.0, 1.25], minutes=lambda x: x / 100)
    texts = '\n'.join(comments(svg))
    assert 'mask id' in texts and '1.25' in texts and 'iteration' in texts
    assert '10.0 min' in texts and '1,000' in texts
    noise = [2.0 + (-1) ** i for i in range(240)]
    mean = '\n'.join(comments(loss_chart('a', range(240), noise)))
    assert re.search(r'1\.9\d|2\.0\d', mean)
    ET.fromstring(loss_chart('a', [1, 2], [1.0, float('nan')]))


def test_a_quality_chart_has_its_three_groups_from_0_to_100():
    figures = {5: dict(PQ=1.0, PQ_th=0.0, PQ_st=2.0), 10: dict(PQ=41.26, PQ_th=30.0, PQ_st=50.0)}
    texts = comments(quality_chart('PQ in percent', figures, minutes=lambda x: x))
    assert {'PQ in percent', 'All 41.3', 'Things 30.0', 'Stuff 50.0', '0', '100'} <= texts


def test_the_versions_have_the_names_of_the_installed_packages():
    names = versions()
    assert names.startswith('Python 3.') and ', torch ' in names and ', numpy ' in names
    assert re.search(r', (mmdet|onedl-mmdetection) \d', names)
