"""``cmt_deeplab.own_training.train``: from a folder of own data to a model and a report."""

import re
from pathlib import Path

import pytest
import torch
from cmt_deeplab.datasets import write_shapes
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.inference import PanopticInferencer
from cmt_deeplab.own_training import train
from cmt_deeplab.own_training.models import recipe
from cmt_deeplab.own_training.preparing import prepared
from cmt_deeplab.own_training.training import validation_interval
from mmdet.registry import MODELS
from mmengine.config import Config


def test_a_few_steps_and_a_few_more(tmp_path, capfd):
    write_shapes(tmp_path / 'data', num_train=6, num_val=3, size=64)
    options = dict(model='cmt-tiny', work_dir=tmp_path / 'run', device='cpu')
    folder = train(tmp_path / 'data', iters=4, batch=2, **options)
    out = capfd.readouterr().out
    assert re.search(r'^\d+ cluster centers: ', out, re.MULTILINE)
    log = next(folder.glob('*/*.log')).read_text()
    assert 'Iter(train) [4/4]' in log and 'beyond the end of training' not in log
    assert out.splitlines()[-2] == str(folder / 'report.html')
    assert re.fullmatch(r'PQ [\d.]+  of things [\d.]+  of stuff [\d.]+', out.splitlines()[-1])
    assert len((folder / 'short.py').read_text().splitlines()) <= 10
    pages = (folder / 'report.html').stat().st_size, len([*(folder / 'pictures').glob('*.png')])
    assert pages[0] > 10_000 and pages[1] >= 1
    assert [*folder.glob('best_coco_panoptic_PQ_iter_*.pth')] and (folder / 'iter_4.pth').is_file()

    with pytest.raises(UserError, match='--resume'):  # the work dir has a run already
        train(tmp_path / 'data', iters=4, **options)
    for other, told in (
        (dict(batch=4), 'began with --batch 2, and cannot go on with 4'),
        (dict(seed=5), 'began with --seed 0'),
        (dict(model='cmt-lite0'), 'began with --model cmt-tiny'),
        (dict(image_size=96), 'began without --image-size'),
    ):
        with pytest.raises(UserError, match=told):
            train(tmp_path / 'data', resume=True, **{**options, **other})
    train(tmp_path / 'data', resume=True, iters=5, seed=0, batch=2, **options)  # the same
    write_shapes(tmp_path / 'other', num_train=6, num_val=3, size=64)
    with pytest.raises(UserError, match='began with DATA .*data, and cannot go on with .*other'):
        train(tmp_path / 'other', resume=True, **options)
    (tmp_path / 'data' / 'notes.txt').touch()
    train(tmp_path / 'data', resume=True, iters=6, **options)
    assert 'have changed since this training began' in capfd.readouterr().out
    last = torch.load(folder / 'iter_6.pth', weights_only=False)
    assert last['meta']['iter'] == 6
    kernels = [value for value in last['state_dict'].values() if value.dim() == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    cfg = Config.fromfile(str(folder / 'config.py'))
    assert cfg.model.num_things_classes == 6 and cfg.train_dataloader.batch_size == 2


def test_wrong_arguments_are_told(tmp_path):
    write_shapes(tmp_path / 'data', num_train=2, num_val=1, size=64)
    for options, told in (
        (dict(model='cmt-r51'), 'cmt-r50: '),
        (dict(model='cmt-tiny', weights='w.pth'), 'from scratch'),
        (dict(model='cmt-lite0', weights='w.pth'), r'weights w\.pth does not exist'),
        (dict(model='cmt-tiny', resume=True), 'no training to resume'),
    ):
        with pytest.raises(UserError, match=told):
            train(tmp_path / 'data', work_dir=tmp_path / 'run', **options)
    assert not Path(tmp_path / 'run').exists()


@pytest.mark.parametrize('model', ['cmt-lite0', 'kmax-lite0'])
def test_from_scratch_the_whole_backbone_learns(tmp_path, model):
    pytest.importorskip('timm')
    write_shapes(tmp_path / 'data', num_train=2, num_val=1, size=64)
    options = dict(opening={}, image_size=64, windows=False, iters=1, batch=None, seed=0)
    cfg = prepared(tmp_path / 'data', tmp_path / 'run', model=model, weights='none', **options)
    assert not cfg.optim_wrapper.paramwise_cfg.custom_keys  # no lower rate of the backbone
    backbone = MODELS.build(cfg.model).train().backbone
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(module.training for module in backbone.modules())


def test_missing_weights_are_told_by_the_flag(tmp_path, monkeypatch):
    pytest.importorskip('timm')
    write_shapes(tmp_path / 'data', num_train=2, num_val=1, size=64)
    missing = {'model.backbone.init_cfg.checkpoint': str(tmp_path / 'missing.pth')}
    with pytest.raises(MissingFileError, match=r'missing\.pth.*--weights FILE, .*--weights none'):
        train(
            tmp_path / 'data', work_dir=tmp_path / 'run', overrides=missing, device='cpu', iters=1
        )


def test_the_layout_in_memory_changes_no_gradient():
    """``train`` lays kernels out by channels on a CPU, in which float64 sees no difference."""
    cfg = Config.fromfile(str(recipe('cmt-tiny')[1]))
    cfg.model.update(num_things_classes=2, num_stuff_classes=1)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).double().train().to(memory_format=layout)
        final = model.network(images).decoder.predictions[-1]
        (final.mask_logits.square().mean() + final.class_logits.square().mean()).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) > 100
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('preset', 'size', 'iters', 'least'), [('quick', 96, 300, 5), ('nuclei', 192, 4, 0)]
)
def test_thirty_images_become_a_model(tmp_path, capfd, preset, size, iters, least):
    """Simple shapes get a PQ, and the hundreds of nuclei of an image get centers and a report."""
    write_shapes(tmp_path / 'data', preset=preset, num_train=24, num_val=6, size=size)
    folder = train(
        tmp_path / 'data', model='cmt-tiny', iters=iters, work_dir=tmp_path / 'run', device='cpu'
    )
    out = capfd.readouterr().out
    assert ('too few' in out) == (preset == 'nuclei')
    assert float(re.search(r'^PQ ([\d.]+)', out.splitlines()[-1])[1]) >= least
    assert 'Where the rest is lost' in (folder / 'report.html').read_text()


def test_large_images_in_crops_and_windows(tmp_path, capfd):
    write_shapes(tmp_path / 'data', preset='nuclei', num_train=3, num_val=1)
    options = dict(model='cmt-tiny', work_dir=tmp_path / 'run', device='cpu')
    folder = train(tmp_path / 'data', iters=1, batch=1, image_size=96, windows=True, **options)
    out = capfd.readouterr().out
    centers = int(re.search(r'^(\d+) cluster centers: a crop has up to', out, re.MULTILINE)[1])
    assert centers < 300 and 'Crops and windows of 96x96 pixels' in out and 'PD407' not in out
    assert re.fullmatch(r'PQ [\d.]+  of things [\d.]+  of stuff [\d.]+', out.splitlines()[-1])
    cfg = Config.fromfile(str(folder / 'config.py'))
    assert cfg.model.test_windows.size == (96, 96) and cfg.train_dataloader.dataset.own_scale
    image = next(Path(cfg.val_dataloader.dataset.data_prefix.img).iterdir())
    result = PanopticInferencer(folder, device='cpu')(str(image))[0]
    assert result.id_map.shape == (256, 256)


def test_a_short_time_is_not_spent_on_validations():
    loop = dict(max_iters=3000, val_interval=500)
    assert validation_interval(loop, 1) == 3000
    assert validation_interval(loop, 60) == 500
