"""visualize_attention.py: where the centers of the last layer look."""

from pathlib import Path

import cmt_deeplab.analysis.attention as attention
import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.analysis.attention import attention_maps, held_by, segment_attention
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.transformer import CMTLayer, KMaXLayer, MaXLayer
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from run_tool import ROOT, run_tool

TINY = ROOT / 'configs' / 'cmt_deeplab' / 'cmt-deeplab_tiny_shapes.py'
TOOL = 'analysis_tools/visualize_attention.py'


@pytest.fixture
def leaf(shapes_root, tmp_path):
    """Writes the tiny model with a layer, and a checkpoint of its random weights."""

    def write(layer: str) -> tuple[Path, Path]:
        path = tmp_path / f'{layer}.py'
        path.write_text(
            f"_base_ = '{TINY}'\n"
            f"data_root = '{shapes_root}/'\n"
            'test_dataloader = dict(num_workers=0, persistent_workers=False,\n'
            '                       dataset=dict(data_root=data_root))\n'
            "test_evaluator = dict(ann_file=data_root + 'annotations/panoptic_val2017.json',\n"
            "                      seg_prefix=data_root + 'annotations/panoptic_val2017/')\n"
            f"decoder = dict(layer=dict(type='{layer}'))\n"
            'model = dict(panoptic_head=dict(transformer_decoder=decoder),\n'
            '             criterion=dict(losses=dict(reference_points=None)))\n'
        )
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(str(path)).model)
        torch.save(dict(state_dict=model.state_dict(), meta={}), path.with_suffix('.pth'))
        return path, path.with_suffix('.pth')

    return write


def test_the_fewest_entries_that_hold_nine_tenths():
    assert held_by(np.array([0.0, 0.05, 0.85, 0.1])) == 0.5
    assert held_by(np.ones(10)) == 0.9
    assert held_by(np.array([1.0, 0, 0, 0])) == 0.25


@pytest.mark.parametrize('kind', [CMTLayer, MaXLayer, KMaXLayer])
def test_maps_are_those_of_the_layer(kind):
    layer = kind.__new__(kind)
    torch.nn.Module.__init__(layer)
    layer.assign = attention.soft  # read of a CMTLayer alone
    torch.manual_seed(2)  # each center has a pixel
    logits = torch.randn(1 if kind is KMaXLayer else 2, 3, 2, 2)
    to_pixels = torch.randn(1, 2, 3, 4 + 3)
    maps = attention_maps(layer, logits, to_pixels)
    for values in maps.values():
        torch.testing.assert_close(values.sum((1, 2)), torch.ones(3))
    if kind is KMaXLayer:
        assert set(maps) == {'assignment'}
        owner = logits[0].argmax(0)
        for center in owner.unique().tolist():
            mine = (owner == center).float()
            torch.testing.assert_close(maps['assignment'][center], mine / mine.sum())
        return
    shares = logits.softmax(1).mean(0)
    torch.testing.assert_close(maps['assignment'], shares / shares.sum((1, 2), keepdim=True))
    if kind is CMTLayer:
        expected = logits.flatten(2).softmax(2).mean(0)
    else:
        expected = to_pixels[0].softmax(2).mean(0)[:, :4]
        expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(maps['attention'].flatten(1), expected)


@pytest.mark.parametrize('layer', ['CMTLayer', 'MaXLayer', 'KMaXLayer'])
def test_segments_and_their_maps(leaf, layer, monkeypatch):
    monkeypatch.setattr(attention, 'FOUND', 0.0)  # the weights are random
    config = Config.fromfile(str(leaf(layer)[0]))
    model = MODELS.build(config.model)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    sample = dataset[0]
    rows = segment_attention(model, pseudo_collate([sample]))
    plane = sample['data_samples'].gt_panoptic_seg.index_map[0].numpy()
    crowds = sample['data_samples'].gt_segments.is_crowd
    assert rows and len({row.segment for row in rows}) == len(rows)
    for row in rows:
        assert not crowds[row.segment]
        np.testing.assert_array_equal(row.pixels, plane == row.segment)
        np.testing.assert_array_equal(row.mask, row.pixels[4::8, 4::8])
        assert row.share == pytest.approx(row.pixels.mean())
        for kind, values in row.maps.items():
            assert values.shape == (12, 12) and values.sum() == pytest.approx(1, abs=1e-5)
            assert 0 <= row.inside(kind) <= 1 + 1e-6 and 0 < row.covered(kind) <= 1


def test_pictures_of_two_models_and_figures_of_the_data(leaf, tmp_path, monkeypatch):
    monkeypatch.setattr(attention, 'FOUND', 0.0)
    arguments = [*leaf('CMTLayer'), 0, '--beside', *leaf('MaXLayer'), '--data-set', 2]
    out = tmp_path / 'out'
    done = run_tool(TOOL, *arguments, '--segments', 2, '--output-dir', out)
    assert done.returncode == 0, done.stderr
    rows = cv2.imread(str(out / 'image0_attention.png'))
    assert rows.shape[1] > 5 * 256 and 2 * 256 < rows.shape[0] < 3 * 256, 'two rows of five'
    assert (out / 'image0_clusters.png').is_file()
    table = [line for line in done.stdout.splitlines() if line.startswith('| all ')]
    assert [line.split('|')[2:4] for line in table] == [
        [f' {model} ', f' {kind} ']
        for model in ('CMT', 'MaX')
        for kind in ('assignment', 'attention')
    ]


def test_two_models_with_the_same_layer_have_figures_of_their_own(leaf, monkeypatch):
    monkeypatch.setattr(attention, 'FOUND', 0.0)
    one = leaf('KMaXLayer')
    done = run_tool(TOOL, *one, '--beside', *one, '--data-set', 1)
    table = [line for line in done.stdout.splitlines() if line.startswith('| all ')]
    assert [line.split('|')[2] for line in table] == [' KMaX 1 ', ' KMaX 2 ']


def test_an_image_that_does_not_exist_is_named(leaf):
    done = run_tool(TOOL, *leaf('CMTLayer'), 6)
    assert done.returncode == 1 and 'which has images 0 to 5' in done.stderr


def test_a_model_without_centers_is_refused():
    with pytest.raises(UserError, match='models of this package'):
        segment_attention(torch.nn.Linear(1, 1), {})
