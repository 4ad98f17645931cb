"""Faster forms of a model: the same segments, the same numbers but for rounding."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.inference import PanopticInferencer
from cmt_deeplab.inference.exporting import ROUNDING
from cmt_deeplab.inference.optimized import OneDNNConv2d, OptimizedTestHook, optimize
from torch.nn.modules.batchnorm import _BatchNorm
from untrained import certain_config, save_untrained

FAMILIES = ['cmt_deeplab/cmt-deeplab', 'kmax_deeplab/kmax-deeplab', 'max_deeplab/max-deeplab']


def inferencer_of(name, folder, **options):
    path = save_untrained(certain_config(f'{name}_tiny_shapes.py'), folder / 'tiny.pth')
    return PanopticInferencer(path, device='cpu', **options), path


@pytest.fixture(scope='module')
def pictures():
    coarse = torch.rand(3, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * 255
    large = torch.nn.functional.interpolate(coarse, size=(110, 150), mode='bilinear')
    return [*large.permute(0, 2, 3, 1).byte().numpy()]


def segments_if_same(one, other, images):
    """How many segments there are in each image, if both find the same ones."""
    found = [list(each.stream(images, progress=False)) for each in (one, other)]
    for first, second in zip(*found, strict=True):
        labels = [[info['label'] for info in each.segments_info] for each in (first, second)]
        assert labels[0] == labels[1]
        assert (first.id_map != second.id_map).mean() <= ROUNDING
    return [len(each.segments_info) for each in found[0]]


def norms_of(model):
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize('name', FAMILIES)
def test_the_logits_are_as_near_to_the_exact_ones(name, pictures, tmp_path):
    plain, path = inferencer_of(name, tmp_path)
    faster = PanopticInferencer(path, device='cpu', optimize='fold')
    models = [each.network.model for each in (plain, faster)]
    assert norms_of(models[1]) < norms_of(models[0]) / 2
    kinds = {type(part) for part in models[1].modules()}
    assert torch.nn.Conv2d not in kinds and OneDNNConv2d in kinds
    side = 96 + models[0].align_corners
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)[..., :side, :side] / 127.5 - 1
    with torch.no_grad():
        usual, fast = (model(images, mode='tensor') for model in models)
        exact = models[0].double()(images.double(), mode='tensor')
        optimize(models[0])
        folded = models[0](images.double(), mode='tensor')
    torch.testing.assert_close(folded, exact, rtol=1e-8, atol=1e-8)
    for one, other, number in zip(usual, fast, exact, strict=True):
        distance, rounding = ((each - number).abs().max() for each in (other, one))
        assert 0 < distance < 10 * rounding < 1e-2 * number.abs().max()


def test_the_segments_are_the_same(pictures, tmp_path):
    plain, path = inferencer_of(FAMILIES[0], tmp_path)
    faster = PanopticInferencer(path, device='cpu', optimize='fold')
    assert min(segments_if_same(plain, faster, pictures)) > 1


def test_the_network_is_compiled(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda function: compiled.append(function) or function)
    _, path = inferencer_of(FAMILIES[0], tmp_path)
    model = PanopticInferencer(path, device='cpu', optimize='compile').network.model
    assert compiled[-1] == model.network

    def fails(function):
        raise RuntimeError('no C++ compiler')

    monkeypatch.setattr(torch, 'compile', fails)
    with pytest.raises(UserError, match=r"no C\+\+ compiler.*optimize='fold'"):
        PanopticInferencer(path, device='cpu', optimize='compile')


def test_a_test_takes_a_copy_and_gives_the_model_back(tmp_path):
    model = inferencer_of(FAMILIES[0], tmp_path)[0].network.model
    runner, norms = SimpleNamespace(model=model), norms_of(model)
    hook = OptimizedTestHook('fold')
    hook.before_test_epoch(runner)
    assert norms_of(runner.model) < norms == norms_of(model)
    hook.after_test_epoch(runner)
    assert runner.model is model


@pytest.mark.parametrize(
    ('level', 'said'), [('fast', 'give one of none, fold, compile'), ('compile', "give 'fold'")]
)
def test_what_is_no_level_is_one_sentence(level, said):
    with pytest.raises(UserError, match=said):
        optimize(torch.nn.Conv2d(1, 1, 1), level)


class NormFirst(torch.nn.Sequential):
    def forward(self, x):
        return self[0](self[1](x))


@torch.no_grad()
@pytest.mark.parametrize('shared', [False, True])
def test_a_norm_that_follows_no_convolution_stays(shared):
    """Neither behind an activation that comes a second time, nor in a forward of its own order."""
    norms = [torch.nn.BatchNorm2d(4) for _ in range(2)]
    for norm in norms:
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    first, second = (torch.nn.Conv2d(4, 4, 1) for _ in range(2))
    act = torch.nn.ReLU()
    model = (
        torch.nn.Sequential(first, act, norms[0], second, act, norms[1])
        if shared
        else NormFirst(first, norms[0])
    ).eval()
    x = torch.randn(2, 4, 3, 3)
    expected = model(x)
    optimize(model)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.slow  # python -m pytest -m slow tests/inference/test_optimized.py
@pytest.mark.parametrize('level', ['fold', 'compile'])
def test_the_segments_of_real_images(level, real_data, tmp_path):
    plain, path = inferencer_of(FAMILIES[0], tmp_path)
    faster = PanopticInferencer(path, device='cpu', optimize=level)
    images = [*map(str, sorted((real_data / 'coco/val2017').glob('*.jpg'))[:20])]
    segments = segments_if_same(plain, faster, images)
    assert len(segments) == 20 and min(segments) > 1
