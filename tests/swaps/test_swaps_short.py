"""The checks of the table find faults, and a few of its rows run; test_swaps_table.py runs all."""

import cv2
import numpy as np
import pytest
from swapping import alignment
from swapping.data import source_planes, write_data
from swapping.page import page
from swapping.row import Row
from swapping.rows import ROWS
from swapping.run import ROOT, run_rows

QUICK = {
    ('Pixel decoders', 'FPN, three levels'),
    ('Transforms of mmdet that move pixels', 'RandomFlip, plane included'),
    ('Transforms of mmdet that move pixels', 'RandomFlip'),
}
FAULTS = {
    'the output is that of the base': '',
    'no gradient in': '\nmodel = dict(criterion=dict(losses=dict(semantic=None)))\n',
    'nothing of type HRNet is alive': "\nspare = dict(type='HRNet')\n",
    'refused: ': '\nmodel = dict(num_things_classes=80)\n',
}


@pytest.fixture(scope='module')
def swap_data(tmp_path_factory):
    root = tmp_path_factory.mktemp('swaps')
    write_data(root)
    return root


def test_a_few_rows_run(swap_data):
    rows = [row for row in ROWS if (row.section, row.part) in QUICK]
    assert len(rows) == len(QUICK)
    for row, outcome in run_rows(rows, swap_data):
        expected = 'works' if row.refused is None else 'refused'
        assert outcome.kind == expected, f'{row.part}: {outcome.text}'


def test_faults_are_found(swap_data):
    rows = [Row('faults', said, leaf) for said, leaf in FAULTS.items()]
    for row, outcome in run_rows(rows, swap_data):
        assert outcome.kind == 'fault' and row.part in outcome.text, outcome


@pytest.mark.parametrize('kind', ['coordinates', 'segments'])
def test_a_plane_that_stays_behind_is_found(swap_data, monkeypatch, kind):
    planes, classes = source_planes(swap_data)
    files = sorted((swap_data / kind / 'data/shapes/train2017').glob('*.png'))

    def measured(move) -> float:
        def batches(*_):
            for file, ids, labels in zip(files, planes, classes):
                index = np.full(ids.shape, -1)
                for k, segment in enumerate(labels):
                    index[ids == segment] = k
                yield (
                    cv2.imread(str(file))[..., ::-1].astype(float),
                    move(index),
                    [*labels.values()],
                )

        monkeypatch.setattr(alignment, 'batches', batches)
        if kind == 'coordinates':
            return alignment.misplaced(None, swap_data, 0)
        return alignment.mixed(None, 0)

    assert measured(lambda plane: plane) == 0
    assert measured(np.fliplr) > 0.2
    assert measured(lambda plane: np.roll(plane, 8, 1)) > 0.05


def test_the_page_has_every_row():
    again = 'python tests/swaps/try_all.py --page docs/swaps.md'
    assert (ROOT / 'docs/swaps.md').read_text(encoding='utf-8') == page(), again
