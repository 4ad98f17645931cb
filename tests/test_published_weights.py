"""Weights as safetensors and JSON: written by programs, and read wherever weights are read."""

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from cmt_deeplab.checkpoints.published import write_weights
from cmt_deeplab.datasets import ShapesPanopticDataset
from cmt_deeplab.errors import UserError
from mmdet.apis import DetInferencer, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from run_tool import ROOT, run_tool
from toy_run import toy_runner

TINY = ROOT / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
SHAPES = json.loads(json.dumps(ShapesPanopticDataset.METAINFO))  # with lists for tuples
CONFIG = 'model = dict()\nprint("text")\n'


@pytest.fixture(scope='module')
def published(tmp_path_factory) -> tuple[dict, Path]:
    """The state dict of a tiny model, and its published file."""
    folder = tmp_path_factory.mktemp('published')
    weights = MODELS.build(Config.fromfile(str(TINY)).model).state_dict()
    meta = dict(dataset_meta=ShapesPanopticDataset.METAINFO, iter=np.int64(7), seed=1)
    hub = dict(runtime_info=dict(cfg=CONFIG))
    torch.save(dict(state_dict=weights, meta=meta, message_hub=hub), folder / 'iter_7.pth')
    finished = run_tool('model_converters/publish_model.py', folder / 'iter_7.pth')
    assert finished.returncode == 0, finished.stderr
    return weights, Path(finished.stdout.split()[-1])


@pytest.fixture
def files(published, tmp_path) -> list[Path]:
    """Copies of both files."""
    copies = [tmp_path / published[1].with_suffix(s).name for s in ('.safetensors', '.json')]
    for copy in copies:
        copy.write_bytes(published[1].with_suffix(copy.suffix).read_bytes())
    return copies


def test_what_is_published(published):
    about = json.loads(published[1].with_suffix('.json').read_text())
    assert published[1].name == f'iter_7-{about["sha256"][:8]}.safetensors' == about['weights']
    assert about['config'] == CONFIG and about['trained_with'] == dict(iter=7, seed=1)
    assert about['dataset_meta'] == SHAPES
    read = CheckpointLoader.load_checkpoint(str(published[1]), map_location='cpu')
    assert read['state_dict'].keys() == published[0].keys()
    assert all(torch.equal(read['state_dict'][name], each) for name, each in published[0].items())
    found = read['meta']['dataset_meta']
    assert found['classes'] == SHAPES['classes']
    assert found['palette'] == ShapesPanopticDataset.METAINFO['palette']


def test_the_inference_api_of_mmdet(published):
    config, path = Config.fromfile(str(TINY)), str(published[1])
    for model in (
        init_detector(config, path, device='cpu'),
        DetInferencer(config, path, device='cpu', show_progress=False).model,
    ):
        assert list(model.dataset_meta['thing_classes']) == SHAPES['thing_classes']
        found = model.state_dict()
        assert all(torch.equal(found[name], each) for name, each in published[0].items())


def test_a_backbone_from_published_weights(published):
    config = Config.fromfile(str(TINY)).model.backbone
    entry = dict(type='Pretrained', checkpoint=str(published[1]), prefix='backbone.')
    backbone = MODELS.build(dict(config, init_cfg=entry))
    backbone.init_weights()
    found = backbone.state_dict()
    name = next(name for name, each in found.items() if each.dim() == 4)
    assert torch.equal(found[name], published[0][f'backbone.{name}'])


def test_training_and_testing_from_averages_of_a_run(tmp_path):
    hooks = [dict(type='EMAHook')]
    toy_runner(tmp_path / 'run', custom_hooks=hooks, train_cfg__max_iters=4).train()
    stored = torch.load(tmp_path / 'run/iter_4.pth', weights_only=True)
    out = str(tmp_path / 'toy')
    path = run_tool('model_converters/publish_model.py', tmp_path / 'run/iter_4.pth', out)
    path = path.stdout.split()[-1]
    runner = toy_runner(tmp_path / 'test', load_from=path)
    runner.test()
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, stored['state_dict'][name])  # where EMAHook keeps the averages
    toy_runner(tmp_path / 'finetuned', load_from=path, train_cfg__max_iters=2).train()
    with pytest.raises(UserError, match='cannot be resumed, as it holds no state of an optimizer'):
        toy_runner(tmp_path / 'resumed', load_from=path, resume=True).train()


def test_weights_without_their_json_file(files):
    """As those of other code bases."""
    files[1].unlink()
    read = CheckpointLoader.load_checkpoint(str(files[0]))
    assert len(read['state_dict']) > 100 and read['meta'] == {}
    for other in ('[1]', '{"images": []}'):
        files[1].write_text(other)
        assert CheckpointLoader.load_checkpoint(str(files[0]))['meta'] == {}


def test_weights_at_an_address(files):
    server = ThreadingHTTPServer(
        ('127.0.0.1', 0), partial(SimpleHTTPRequestHandler, directory=str(files[0].parent))
    )
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f'http://127.0.0.1:{server.server_port}/{files[0].name}'
        read = CheckpointLoader.load_checkpoint(address)
        assert read['meta']['dataset_meta']['classes'] == SHAPES['classes']
        files[1].unlink()
        assert CheckpointLoader.load_checkpoint(address)['meta'] == {}
        files[0].unlink()
        with pytest.raises(FileNotFoundError, match=r'cannot be fetched \(File not found'):
            CheckpointLoader.load_checkpoint(address)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    'text', ['', '{"sha256": 1}', '[' * 10**5, '{"sha256": "a", "dataset_meta": [1]}']
)
def test_a_damaged_json_file(files, text):
    files[1].write_text(text)
    with pytest.raises(UserError, match=r'iter_7-\w{8}\.json, which belongs to weights, is dam'):
        CheckpointLoader.load_checkpoint(str(files[0]))


def test_damaged_or_exchanged_weights(files):
    content = files[0].read_bytes()
    for changed in (content[:-9], content[:-1] + b'!', b''):
        files[0].write_bytes(changed)
        with pytest.raises(UserError, match='are not those that .*json belongs to: copy both'):
            CheckpointLoader.load_checkpoint(str(files[0]))
    files[1].unlink()
    for changed in (content[:-9], b'\xff' * 99, b'', b'\x02\0\0\0\0\0\0\0{}' + content):
        files[0].write_bytes(changed)
        with pytest.raises(UserError, match='are damaged: copy them again'):
            CheckpointLoader.load_checkpoint(str(files[0]))
    with pytest.raises(FileNotFoundError, match=r'absent\.safetensors does not exist'):
        CheckpointLoader.load_checkpoint(str(files[0].with_name('absent.safetensors')))


@pytest.mark.parametrize(
    'content, sentence',
    [
        ([1], 'has no state_dict: give a checkpoint'),
        (dict(state_dict={}), 'cannot be published, as it has no weights'),
        (dict(state_dict=dict(a='text')), "cannot be published, as its 'a' is no tensor"),
        (dict(state_dict=dict(a=torch.tensor([float('nan')]))), 'weights that are not finite'),
    ],
)
def test_what_cannot_be_published(tmp_path, content, sentence):
    torch.save(content, tmp_path / 'given.pth')
    finished = run_tool('model_converters/publish_model.py', tmp_path / 'given.pth')
    assert finished.returncode == 1 and sentence in finished.stderr
    assert finished.stderr.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == ['given.pth']


def test_a_json_file_of_something_else_is_not_overwritten(tmp_path):
    weights = dict(weight=torch.ones(2))
    path = tmp_path / 'coco.safetensors'
    for _ in range(2):
        write_weights(str(path), weights, {})
    for other in ('{"images": []}', 'no JSON'):
        path.with_suffix('.json').write_text(other)
        with pytest.raises(UserError, match=r'coco\.json,? (is there and is not|which belongs)'):
            write_weights(str(path), weights, {})
        assert path.with_suffix('.json').read_text() == other


def test_tensors_that_share_memory_are_published(tmp_path):
    tied = torch.ones(2, 3)
    torch.save(dict(state_dict=dict(a=tied, b=tied.t())), tmp_path / 'tied.pth')
    finished = run_tool('model_converters/publish_model.py', tmp_path / 'tied.pth')
    read = CheckpointLoader.load_checkpoint(finished.stdout.split()[-1])['state_dict']
    assert read['a'].shape == (2, 3) and read['b'].shape == (3, 2)
