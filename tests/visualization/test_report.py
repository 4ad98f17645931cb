import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from cmt_deeplab.visualization import (
    AssignmentMap,
    Figures,
    PanopticDrawer,
    Report,
    make_example,
    write_report,
)
from PIL import Image

CLASSES = ('cat', 'grass <b>')


def example():
    truth = np.full((24, 24), 1)
    truth[6:18, 6:18] = 1000
    found = np.full((24, 24), 1)
    found[6:18, 7:19] = 3000
    centers = np.where(found == 3000, 5, 2)
    layers = [
        AssignmentMap(f'layer {i}', centers, np.full((24, 24), 0.5, np.float32)) for i in (1, 2)
    ]
    return make_example(
        'best: PQ 90.0',
        np.full((24, 24, 3), 60, np.uint8),
        truth,
        found,
        assignments=layers,
        drawer=PanopticDrawer(
            classes=CLASSES, num_things_classes=1, labels=False, alpha=1.0, min_side=24
        ),
    )


def report(**changes):
    content = dict(
        title='Quickstart',
        summary='short',
        overall=dict(All=Figures(57.123, 80.0, 70.0, 2), Things=Figures(50.0, 80.0, 62.0, 1)),
        per_class={c: Figures(40.0, 80.0, 50.0) for c in CLASSES},
        thing_classes=CLASSES[:1],
        charts=['<svg class="chart"></svg>'],
        examples=[example()],
        run=[('command', 'python a <b')],
        next_steps=[('More', 'python tools/train.py x')],
    )
    return Report(**{**content, **changes})


def test_the_page_is_complete_and_needs_nothing_else(tmp_path):
    path = write_report(report(), tmp_path / 'new' / 'report.html')
    page = path.read_text()
    assert (
        path.is_absolute()
        and '57.12' in page
        and 'grass &lt;b&gt;' in page
        and 'python a &lt;b' in page
    )
    for heading in (
        'Curves',
        'Pictures',
        'Classes',
        'What was run',
        'Next steps',
        'Pixel-cluster assignment of each layer',
    ):
        assert heading in page
    assert (
        '<script' not in page
        and not re.search(r'(src|href)="(?!data:)', page)
        and 'url(' not in page
    )
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 5  # input, ground truth, prediction, two layers
    assert np.array(Image.open(io.BytesIO(base64.b64decode(pictures[0])))).shape == (24, 24, 3)


def test_tags_are_balanced(tmp_path):
    stack = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ('meta', 'img'):
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Checker().feed(write_report(report(), tmp_path / 'report.html').read_text())
    assert stack == []


def test_sections_without_content_are_left_out(tmp_path):
    page = write_report(
        report(charts=(), examples=(), next_steps=()), tmp_path / 'report.html'
    ).read_text()
    assert (
        'Curves' not in page
        and 'Pictures' not in page
        and 'Next steps' not in page
        and 'What was run' in page
    )


def test_a_report_without_overall_figures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'All'"):
        write_report(report(overall={}), tmp_path / 'report.html')


def test_a_found_segment_has_one_color_in_truth_prediction_and_layers():
    shown = example()
    (_, _), (_, truth), (_, found) = shown.pictures
    color = truth[12, 12]
    assert (found[12, 12] == color).all() and not (truth[2, 2] == color).all()
    layer = shown.assignments[0][1]
    assert layer.shape == (24, 24, 3)
    weight = 0.3 + 0.7 * np.sqrt(0.5)
    faded = (color * weight + 255 * (1 - weight)).round()
    assert np.abs(layer[12, 12].astype(int) - faded).max() <= 1
    assert (shown.assignments[1][1] == layer).all()
