"""Networks as ONNX files and for torch.export: their segments beside those of PyTorch."""

import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from cmt_deeplab.errors import MissingFileError, MissingPackageError, UserError
from cmt_deeplab.inference import PanopticInferencer
from cmt_deeplab.inference.exported import RECIPE, exported_network, load_exported, texts_of
from cmt_deeplab.inference.exporting import compare, export, runtimes
from cmt_deeplab.inference.network import Network
from cmt_deeplab.models.blocks.axial_attention import RelativePositions
from cmt_deeplab.models.data_preprocessor import PanopticDataPreprocessor
from cmt_deeplab.postprocess.mask_wise_merge import PanopticMaskWiseMerge
from mmengine.registry import init_default_scope
from run_tool import run_tool
from torch import nn
from untrained import certain_config, save_untrained

COUNTS = dict(num_things_classes=3, num_stuff_classes=2)
MERGE = dict(
    thing_threshold=0.2, stuff_threshold=0.2, pixel_threshold=0.3, thing_area=5, stuff_area=9
)
SIZE = (64, 96)
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='PanopticResize'), dict(type='PackDetInputs')]


class Colors(nn.Module):
    """A model of one convolution, which gives each of 12 centers the pixels of some colors."""

    align_corners, test_windows = False, None
    num_things_classes, num_stuff_classes = COUNTS.values()

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.data_preprocessor = PanopticDataPreprocessor(align_corners=False, size=SIZE)
        self.postprocess = PanopticMaskWiseMerge(**COUNTS, **MERGE)
        self.masks = nn.Conv2d(3, 12, 4, stride=4)
        nn.init.normal_(self.masks.weight, generator=draw)
        self.classes = nn.Parameter(torch.randn(1, 12, 6, generator=draw) * 2)

    def forward(self, images, mode):
        return self.masks(images), self.classes + images.mean()


@pytest.fixture(scope='module')
def network():
    """A network whose model is to be exported alone."""
    init_default_scope('mmdet')
    model = dict(postprocess=dict(type='PanopticMaskWiseMerge', **MERGE))
    return Network(
        model=Colors().eval(),
        steps=[],
        image_size=SIZE,
        classes=('cat', 'dog', 'cow', 'sky', 'sea'),
        num_things_classes=3,
        palette=[(k, 2, 3) for k in range(5)],
        category_ids=[11, 12, 13, 14, 15],
        recipe=dict(model=model, pipeline=PIPELINE),
    )


@pytest.fixture(scope='module')
def images():
    """An image and a smaller one, in BGR."""
    draw = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 5, 6, generator=draw) * 255
    sizes = ((80, 100), (40, 90))
    pictures = [nn.functional.interpolate(coarse, size=size, mode='bilinear') for size in sizes]
    return [picture[0].permute(1, 2, 0).byte().numpy() for picture in pictures]


@pytest.fixture(scope='module')
def plain(network):
    """The network in PyTorch."""

    def run(names, feeds):
        with torch.no_grad():
            return [each.numpy() for each in network.model(torch.from_numpy(feeds['images']), '')]

    texts = texts_of(network, SIZE, merged=False)
    return exported_network(run, texts, 'plain')


@pytest.fixture(scope='module')
def file(network, tmp_path_factory):
    """An ONNX file with the merge in it, for inputs of any size."""
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package, reason=f'needs {package} (the extra "export")')
    path = str(tmp_path_factory.mktemp('onnx') / 'model.onnx')
    export(network, path, SIZE, dynamic=True, merged=True)
    return path


def same_segments(plain, exported, images):
    found = [*compare(plain, exported, images)]
    assert min(each.segments for each in found) > 2
    return all(each.same for each in found)


def test_onnx_with_the_merge_gives_the_segments_of_pytorch_at_any_size(file, plain, images):
    for runtime, exported in runtimes(file):
        for size in (None, SIZE):  # of the input: that of each image, or one for all
            for each in (plain, exported):
                each.model.data_preprocessor.size = size
            assert same_segments(plain, exported, images), (runtime, size)


def test_a_graph_does_not_separate_parts(network, tmp_path):
    with (
        mock.patch.object(network.model.postprocess, 'separate_parts', True),
        pytest.raises(UserError, match='separate_parts=True .* export without --merge'),
    ):
        export(network, str(tmp_path / 'model.onnx'), SIZE, dynamic=False, merged=True)


def test_a_file_alone_has_classes_categories_and_preprocessing(file, plain, images, tmp_path):
    inferencer = PanopticInferencer(file, device='cpu')
    results = inferencer(images, channel_order='bgr', out_dir=tmp_path, batch_size=2)
    content = json.loads((tmp_path / 'panoptic.json').read_text())
    assert [each['id'] for each in content['categories']] == [11, 12, 13, 14, 15]
    for result, image in zip(results, images):
        ((expected, infos),) = plain.predict([plain.load(image)])
        assert (result.segment_map != expected).mean() < 1e-3
        assert [each['label_id'] for each in result.segments_info] == [
            each['category_id'] for each in infos
        ]
        assert result.segments_info[0]['score'] == pytest.approx(infos[0]['score'], abs=1e-5)
    with pytest.raises(UserError, match='thresholds'):
        inferencer(images, thresholds=0.5)


def test_torch_export_gives_the_segments_of_pytorch(network, plain, images, tmp_path):
    path = str(tmp_path / 'model.pt2')
    export(network, path, SIZE, dynamic=False, merged=False)
    ((runtime, exported),) = runtimes(path)
    assert runtime == 'torch.export'
    assert same_segments(plain, exported, images)


HOSTILE = {
    'no metadata': ({}, 'was not written by cmt-deeplab export'),
    'no JSON': (dict(recipe='{'), 'cannot be read'),
    'a type of another module': (dict(postprocess=dict(type='os.system')), "'os.system'"),
    'another part': (dict(postprocess=dict(type='ResNet')), 'ResNet is no PanopticMerge'),
    'an unknown key': (dict(backbone=dict(type='ResNet', depth=50)), 'backbone'),
    'other classes': (dict(num_things_classes=4), 'names 5 classes'),
    'a path': (dict(test_windows=dict(size='/etc/passwd')), "'/etc/passwd'"),
    'a huge input': (dict(data_preprocessor=dict(size=[1 << 20, 64])), 'above'),
    'another input': (
        dict(data_preprocessor=dict(type='PanopticDataPreprocessor', size=[64, 64])),
        'takes inputs of 64x96',
    ),
}


@pytest.mark.parametrize('case', HOSTILE)
def test_what_a_file_carries_is_data(case, file, tmp_path):
    import onnx

    change, sentence = HOSTILE[case]
    model = onnx.load(file)
    texts = {each.key: each.value for each in model.metadata_props}
    recipe = json.loads(texts[RECIPE])
    recipe['model'].update(change)
    texts[RECIPE] = change.get('recipe') or json.dumps(recipe)
    if case == 'another input':
        for side, length in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], SIZE):
            side.dim_value = length
    onnx.helper.set_model_props(model, texts if change else {})
    path = str(tmp_path / 'hostile.onnx')
    onnx.save(model, path)
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        load_exported(path, 'cpu')
    assert path in str(caught.value) and '\n' not in str(caught.value)


def test_what_is_no_onnx_file_is_one_sentence(tmp_path):
    path = tmp_path / 'model.onnx'
    with pytest.raises(MissingFileError, match='does not exist'):
        PanopticInferencer(path)
    path.write_bytes(b'PK')
    with pytest.raises(UserError, match=r'model\.onnx cannot be used'):
        PanopticInferencer(path)
    with pytest.raises(UserError, match="optimize is 'folded': give one of none, fold, compile"):
        PanopticInferencer(path, optimize='folded')


def test_rows_of_relative_positions_are_the_same_in_an_export():
    positions = RelativePositions(4)
    for length in (1, 7, positions.span, positions.span + 9):
        with mock.patch.object(torch.compiler, 'is_exporting', lambda: True):
            exported = positions(length)
        assert torch.equal(exported, positions(length))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return save_untrained(certain_config(), tmp_path_factory.mktemp('model') / 'weights.pth')


@pytest.mark.slow  # python -m pytest -m slow tests/inference/test_exported.py
@pytest.mark.parametrize(
    ('ending', 'flags', 'runtime'),
    [('onnx', ['--dynamic'], 'onnxruntime'), ('pt2', ['--dynamic', '--merge'], 'torch.export')],
)
def test_the_segments_of_a_whole_model_on_real_images(
    ending, flags, runtime, checkpoint, real_data, tmp_path
):
    pytest.importorskip('onnxscript', reason='needs onnxscript (the extra "export")')
    images = sorted((real_data / 'coco/val2017').glob('*.jpg'))[:20]
    out = tmp_path / f'model.{ending}'
    finished = run_tool('deployment/export_onnx.py', checkpoint, out, *flags, '--images', *images)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f'of {runtime} are those of PyTorch on 20 of 20 images' in finished.stdout
    assert min(map(int, re.findall(r'(\d+) segments, the same', finished.stdout))) > 1


def test_what_cannot_be_exported_is_one_sentence(checkpoint, tmp_path):
    for arguments, sentence in (
        ([tmp_path / 'x.onnx', '--size', 90, 96], 'no inputs of 90x96: give --size 96 96'),
        ([tmp_path / 'x.txt'], 'does not end with .onnx or .pt2'),
    ):
        finished = run_tool('deployment/export_onnx.py', checkpoint, *arguments)
        assert finished.returncode == 1
        assert sentence in finished.stderr


def test_a_part_that_knows_one_size_alone_is_one_sentence(network, tmp_path):
    class OfOneSize(Colors):
        def forward(self, images, mode):
            masks, classes = super().forward(images, mode)
            return masks + self.masks.weight.new_ones(12, 16, 24), classes

    network = replace(network, model=OfOneSize().eval())
    with pytest.raises(UserError, match=r'OfOneSize cannot be exported \(.*leave out --dynamic'):
        export(network, str(tmp_path / 'model.pt2'), SIZE, dynamic=True, merged=False)
    export(network, str(tmp_path / 'model.pt2'), SIZE, dynamic=False, merged=False)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    (tmp_path / 'model.onnx').touch()
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(MissingPackageError, match=r'onnxruntime.*cmt-deeplab\[export\]'):
        PanopticInferencer(tmp_path / 'model.onnx')


@pytest.mark.parametrize(
    ('ids', 'moved', 'same'), [([7], 1, True), ([7], 2, False), ([7, 8], 0, False)]
)
def test_single_pixels_may_move(ids, moved, same):
    maps = np.full((2, 100, 100), 7)
    maps[1, 0, :moved] = 5
    pair = [
        SimpleNamespace(load=str, predict=lambda loaded, result=result: [result])
        for result in ((maps[0], [dict(id=7)]), (maps[1], [dict(id=number) for number in ids]))
    ]
    (found,) = compare(*pair, ['a.png'])
    assert (found.same, found.other_pixels, found.segments) == (same, moved, 1)
